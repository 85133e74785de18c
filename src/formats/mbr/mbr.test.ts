import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isHvError } from '../../errors/index.ts';
import { encodeMbr, MBR_TYPE_GPT_PROTECTIVE, parseMbr, protectiveMbr } from './index.ts';

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const partition = fc.record({
  type: fc.integer({ min: 1, max: 255 }),
  active: fc.boolean(),
  startSector: u32,
  sizeSectors: u32,
});

describe('the master boot record', () => {
  it('reads back what it wrote', () => {
    const mbr = fc.record({ diskSignature: u32, partitions: fc.array(partition, { maxLength: 4 }) });
    fc.assert(
      fc.property(mbr, fc.uint8Array({ maxLength: 440 }), (value, code) => {
        const bytes = encodeMbr(value, code);
        expect(parseMbr(bytes)).toEqual(value);
        expect(bytes.subarray(0, code.length)).toEqual(code);
      }),
    );
  });

  it('covers a GPT disk as far as 32 bits reach', () => {
    const small = { type: MBR_TYPE_GPT_PROTECTIVE, active: false, startSector: 1, sizeSectors: 4095 };
    expect(parseMbr(protectiveMbr(4096)).partitions).toEqual([small]);
    expect(parseMbr(protectiveMbr(2 ** 40)).partitions).toEqual([{ ...small, sizeSectors: 0xffff_ffff }]);
    // UEFI 5.2.3: the start is head 0, sector 2; an end out of reach is all ones.
    expect([...protectiveMbr(2 ** 40).subarray(446, 454)]).toEqual([0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
  });

  it('refuses too many partitions, too much boot code, and sectors without a signature', () => {
    const four = { type: 7, active: false, startSector: 1, sizeSectors: 1 };
    expect(() => encodeMbr({ diskSignature: 0, partitions: [four, four, four, four, four] })).toThrow(/at most 4/);
    expect(() => encodeMbr({ diskSignature: 0, partitions: [] }, new Uint8Array(441))).toThrow(/440/);
    expect(() => parseMbr(new Uint8Array(512))).toThrow(/no signature/);
    expect(() => parseMbr(new Uint8Array(100))).toThrow(/shorter/);
  });

  it('gives a value or an error for any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
        try {
          parseMbr(bytes);
        } catch (error) {
          expect(isHvError(error, 'corrupt')).toBe(true);
        }
      }),
    );
  });
});
