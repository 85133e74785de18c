import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HvError } from '../errors/index.ts';
import {
  type CreateVmOptions,
  DEFAULT_MEMORY_BYTES,
  DEFAULT_PROCESSORS,
  MAX_MEMORY_BYTES,
  MAX_PROCESSORS,
  MIN_MEMORY_BYTES,
  validCreateOptions,
} from './vm-specification.ts';

const MIB = 2 ** 20;

function refusalOf(options: unknown): HvError | undefined {
  try {
    validCreateOptions(options as CreateVmOptions); // what comes over a wire or from JavaScript has no type
    return undefined;
  } catch (error) {
    if (error instanceof HvError) return error;
    throw error;
  }
}

describe('validCreateOptions', () => {
  it('fills in what Hyper-V would: Generation 2, a Linux guest, 2 GiB, two processors', () => {
    expect(validCreateOptions({ name: 'web1' })).toEqual({
      name: 'web1',
      generation: 2,
      guest: 'linux',
      memoryBytes: DEFAULT_MEMORY_BYTES,
      processorCount: DEFAULT_PROCESSORS,
    });
  });

  it('keeps what it was given', () => {
    const given = {
      name: 'web1',
      generation: 1,
      guest: 'windows',
      memoryBytes: 512 * MIB,
      processorCount: 4,
      diskPath: '/srv/a.vhdx',
      switchName: null,
      allowedParents: ['/srv/templates'],
    } as const;
    expect(validCreateOptions(given)).toEqual(given);
  });

  it.each([MIN_MEMORY_BYTES, MAX_MEMORY_BYTES, 33 * MIB])('accepts %d bytes of memory', (memoryBytes) => {
    expect(validCreateOptions({ name: 'a', memoryBytes }).memoryBytes).toBe(memoryBytes);
  });

  it.each([
    0,
    -1,
    -MIB,
    1.5,
    MIB,
    MIN_MEMORY_BYTES - 1,
    MIN_MEMORY_BYTES + 1,
    MAX_MEMORY_BYTES + MIB,
    2 ** 53,
    Number.NaN,
    Number.POSITIVE_INFINITY,
  ])('refuses %d bytes of memory', (memoryBytes) => {
    expect(refusalOf({ name: 'a', memoryBytes })).toMatchObject({ code: 'invalid-argument' });
  });

  it.each([0, -1, 1.5, MAX_PROCESSORS + 1, 2 ** 31, Number.NaN, Number.POSITIVE_INFINITY])(
    'refuses %d processors',
    (processorCount) => {
      expect(refusalOf({ name: 'a', processorCount })).toMatchObject({ code: 'invalid-argument' });
    },
  );

  it.each([0, 3, '2'])('refuses generation %j', (generation) => {
    expect(refusalOf({ name: 'a', generation })).toMatchObject({ code: 'invalid-argument' });
  });

  it.each(['', 'Linux', 'bsd', 0])('refuses the guest %j', (guest) => {
    expect(refusalOf({ name: 'a', guest })).toMatchObject({ code: 'invalid-argument' });
  });

  it('refuses a bad name before anything else', () => {
    expect(refusalOf({ name: '..' })).toMatchObject({ code: 'invalid-argument' });
  });

  it('tells in every refusal what is accepted, in a form that survives JSON', () => {
    fc.assert(
      fc.property(fc.double(), fc.double(), (memoryBytes, processorCount) => {
        const refusal = refusalOf({ name: 'a', memoryBytes, processorCount });
        if (!refusal) {
          expect(memoryBytes % MIB).toBe(0);
          expect(processorCount).toBeGreaterThanOrEqual(1);
          return;
        }
        expect(refusal.code).toBe('invalid-argument');
        expect(refusal.hint).toBeTruthy();
        expect(JSON.parse(JSON.stringify(refusal.detail))).toEqual(refusal.detail);
      }),
    );
  });

  it('accepts every whole number of megabytes and processors within the limits', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: MIN_MEMORY_BYTES / MIB, max: MAX_MEMORY_BYTES / MIB }),
        fc.integer({ min: 1, max: MAX_PROCESSORS }),
        (megabytes, processorCount) => {
          const valid = validCreateOptions({ name: 'a', memoryBytes: megabytes * MIB, processorCount });
          expect(valid).toMatchObject({ memoryBytes: megabytes * MIB, processorCount });
        },
      ),
    );
  });
});
