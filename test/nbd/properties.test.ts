import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BlockDevice } from '../../src/disk/block-device.ts';
import { Command, CommandFlag } from '../../src/protocols/nbd/wire.ts';
import { TestClient } from './client.ts';
import { MemoryDevice } from './memory-device.ts';
import { RawDevice } from './raw-device.ts';
import { Served } from './served.ts';

const SIZE_BYTES = 2 * 1024 * 1024 + 512;
const CONNECTIONS = 6;
/** Requests of one round touch slots of their own, because the protocol promises no order among them. */
const SLOTS = 24;
const SLOT_BYTES = Math.floor(SIZE_BYTES / SLOTS);

interface Step {
  readonly kind: 'read' | 'write' | 'zero' | 'zeroNoHole' | 'status';
  readonly at: number;
  readonly length: number;
  readonly seed: number;
  readonly fua: boolean;
}

const step: fc.Arbitrary<Step> = fc
  .record({
    kind: fc.constantFrom('read', 'write', 'zero', 'zeroNoHole', 'status'),
    at: fc.oneof(
      fc.nat(SLOT_BYTES - 1),
      fc.nat(Math.floor(SLOT_BYTES / 512) - 1).map((sector) => sector * 512),
    ),
    length: fc.oneof(fc.constantFrom(512, 4096, 65_536), fc.integer({ min: 1, max: SLOT_BYTES })),
    seed: fc.nat(255),
    fua: fc.boolean(),
  })
  .map((drawn) => ({ ...drawn, length: Math.min(drawn.length, SLOT_BYTES - drawn.at) }) as Step);

const rounds = fc.array(fc.array(step, { minLength: 1, maxLength: SLOTS }), { minLength: 1, maxLength: 8 });

async function carryOut(client: TestClient, device: BlockDevice, reference: Buffer, slot: number, what: Step) {
  const offset = slot * SLOT_BYTES + what.at;
  const flags = what.fua ? CommandFlag.fua : 0;
  const expected = reference.subarray(offset, offset + what.length);
  switch (what.kind) {
    case 'read': {
      const reply = await client.read(offset, what.length);
      expect(reply.error).toBe(0);
      expect(reply.data.equals(expected)).toBe(true);
      return;
    }
    case 'write':
      for (let index = 0; index < what.length; index++) expected[index] = (what.seed + index * 13) & 0xff;
      expect((await client.write(offset, Buffer.from(expected), flags)).error).toBe(0);
      return;
    case 'zero':
    case 'zeroNoHole': {
      expected.fill(0);
      const how = flags | (what.kind === 'zero' ? 0 : CommandFlag.noHole);
      expect((await client.request(Command.writeZeroes, how, offset, what.length)).error).toBe(0);
      return;
    }
    case 'status': {
      const { error, extents } = await client.request(Command.blockStatus, 0, offset, what.length);
      expect(error).toBe(0);
      expect(extents.reduce((sum, { length }) => sum + length, 0)).toBe(what.length);
      expect(extents).toEqual(statusOf(device, offset, what.length));
    }
  }
}

/** The device's own view of a range, in the protocol's words. */
function statusOf(device: BlockDevice, offset: number, length: number): { length: number; flags: number }[] {
  const flagsOf = { data: 0, zero: 2, hole: 3 } as const;
  const described: { length: number; flags: number }[] = [];
  for (const extent of device.extents(offset, length)) {
    const last = described.at(-1);
    if (last?.flags === flagsOf[extent.kind]) last.length += extent.length;
    else described.push({ length: extent.length, flags: flagsOf[extent.kind] });
  }
  return described;
}

async function checkRounds(served: Served, reference: Buffer, plan: readonly (readonly Step[])[]): Promise<void> {
  const clients = await Promise.all(
    Array.from({ length: CONNECTIONS }, (_, index) =>
      TestClient.connect(served.socketPath, { structured: index % 3 !== 2 }),
    ),
  );
  const structured = clients.filter((_, index) => index % 3 !== 2);
  for (const round of plan) {
    // A slot shares blocks with its neighbours, so the allocation is looked at when nothing is written.
    for (const phase of ['transfer', 'status'] as const) {
      await Promise.all(
        round.map((what, slot) => {
          if ((what.kind === 'status') !== (phase === 'status')) return undefined;
          const able = phase === 'status' ? structured : clients;
          const client = able[slot % able.length];
          return client && carryOut(client, served.export.device, reference, slot, what);
        }),
      );
    }
  }
  for (const client of clients) {
    const whole = await client.read(0, SIZE_BYTES);
    expect(whole.data.equals(reference)).toBe(true);
    await client.disconnect();
  }
}

describe('nbd against a reference buffer', () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'hv-nbd-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('many connections to a disk in memory see one disk', async () => {
    await fc.assert(
      fc.asyncProperty(rounds, async (plan) => {
        await using served = await Served.start(new MemoryDevice(SIZE_BYTES));
        await checkRounds(served, Buffer.alloc(SIZE_BYTES), plan);
      }),
      { numRuns: 40 },
    );
  });

  it('many connections to a file see one disk, and its holes', async () => {
    const path = join(folder, 'disk');
    await fc.assert(
      fc.asyncProperty(rounds, async (plan) => {
        writeFileSync(path, '');
        truncateSync(path, SIZE_BYTES);
        const device = new RawDevice(path);
        try {
          await using served = await Served.start(device);
          await checkRounds(served, Buffer.alloc(SIZE_BYTES), plan);
        } finally {
          await device.close();
        }
      }),
      { numRuns: 40 },
    );
  });
});
