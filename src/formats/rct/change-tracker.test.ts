import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { randomGuid } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import { MemoryStore } from '../../store/index.ts';
import { FaultStore } from '../../store/testing/fault-store.ts';
import { createVhdx, VhdxImage } from '../vhdx/index.ts';
import { ChangeTracker } from './change-tracker.ts';
import { parseChangeTrackingId } from './change-tracking-id.ts';
import { UNIT_MAP_OFFSET } from './format.ts';

const MIB = 2 ** 20;
const TIB = 2 ** 40;
const GUID = randomGuid();
const everything = Number.POSITIVE_INFINITY;

const stateOf = (sizeBytes: number) => ({ sizeBytes, fileWriteGuid: GUID, headerSequence: 7n });
const sector = (value: number): Uint8Array => new Uint8Array(512).fill(value);

function newDisk(sizeBytes = 256 * MIB): MemoryStore {
  const disk = new MemoryStore();
  createVhdx(disk, { type: 'dynamic', virtualSizeBytes: sizeBytes, blockSizeBytes: MIB });
  return disk;
}

describe('a change tracker', () => {
  test('of a disk of 64 TiB takes little memory and finds changes at both ends at once', () => {
    const store = new MemoryStore();
    const tracker = ChangeTracker.create(store, stateOf(64 * TIB));
    const id = tracker.state().mostRecentId ?? '';
    const startedAt = performance.now();
    tracker.beforeChange(0, 512);
    tracker.beforeChange(64 * TIB - 512, 512);
    const { ranges } = tracker.query(id, 0, 64 * TIB, everything);
    expect(performance.now() - startedAt).toBeLessThan(2000);
    expect(ranges).toEqual([
      { offsetBytes: 0, lengthBytes: 16 * MIB },
      { offsetBytes: 64 * TIB - 16 * MIB, lengthBytes: 16 * MIB },
    ]);
    expect(store.size()).toBeLessThan(18 * MIB);
  });

  test('flushes ever more rarely while its disk is written all over, and marks little where it is not', () => {
    let now = 0;
    const store = new FaultStore();
    const tracker = ChangeTracker.create(store, stateOf(TIB), { now: () => now });
    const flushes = (): number => store.counts.flush;
    const before = flushes();
    // Markings that take a millisecond, changes that take none.
    store.afterChange = () => {
      now += 1;
    };
    for (let gibibyte = 0; gibibyte < 1024; gibibyte++) tracker.beforeChange(gibibyte * 1024 * MIB, 4096);
    expect(flushes() - before).toBeLessThan(20);
    tracker.takeReferencePoint();
    const quiet = flushes();
    for (let gibibyte = 0; gibibyte < 8; gibibyte++) {
      now += 60_000;
      tracker.beforeChange(gibibyte * 128 * 1024 * MIB, 4096);
    }
    expect(flushes() - quiet).toBeGreaterThan(2);
  });

  test.each(['write', 'flush'] as const)('never stops its disk: after a failed %s the ids are void', async (what) => {
    const disk = newDisk();
    const failing = new FaultStore();
    const id = ChangeTracker.create(failing, VhdxImage.open(disk).state).state().mostRecentId ?? '';
    const total = { write: failing.counts.write, flush: failing.counts.flush };
    let voided = 0;
    for (let nth = 1; nth <= 4; nth++) {
      const copy = disk.clone();
      const store = new FaultStore(failing.content());
      if (what === 'write') store.failWrite = nth;
      else store.failFlush = nth;
      const image = VhdxImage.open(copy, { changes: ChangeTracker.open(store) });
      image.write(5 * MIB, sector(1), 0, 512);
      await image.flush();
      image.write(100 * MIB, sector(2), 0, 512);
      await image.close();
      const later = ChangeTracker.open(store);
      const again = VhdxImage.open(copy, { changes: later, readOnly: true });
      const bytes = new Uint8Array(512);
      again.read(100 * MIB, bytes, 0, 512);
      expect(bytes).toEqual(sector(2));
      // A file that did not fit any more has begun anew.
      if (!later.knows(id)) {
        voided++;
        expect(() => later.query(id, 0, 256 * MIB, everything)).toThrow(
          expect.objectContaining({ detail: expect.objectContaining({ reason: 'tracking-broken' }) }),
        );
        continue;
      }
      const offsets = later.query(id, 0, 256 * MIB, everything).ranges;
      for (const offset of [5 * MIB, 100 * MIB]) {
        expect(
          offsets.some((range) => range.offsetBytes <= offset && offset < range.offsetBytes + range.lengthBytes),
        ).toBe(true);
      }
    }
    expect(total.write).toBeGreaterThan(0);
    expect(voided).toBeGreaterThan(0);
  });

  test('takes a damaged page of its map for changed, all of it', () => {
    const store = new MemoryStore();
    const tracker = ChangeTracker.create(store, stateOf(256 * MIB));
    tracker.beforeChange(0, 512);
    const id = tracker.takeReferencePoint();
    store.write(UNIT_MAP_OFFSET + 4, Uint8Array.of(9), 0, 1);
    const again = ChangeTracker.open(store);
    again.opened(stateOf(256 * MIB));
    expect(again.query(id, 0, 256 * MIB, everything).ranges[0]?.lengthBytes).toBeGreaterThan(63 * MIB);
  });

  test('opens any bytes, or says that they are none of its files', () => {
    const sound = new MemoryStore();
    ChangeTracker.create(sound, stateOf(64 * MIB)).takeReferencePoint();
    const flips = fc.array(fc.tuple(fc.nat(200 * 1024), fc.nat(255)), { maxLength: 8 });
    fc.assert(
      fc.property(flips, fc.integer({ min: 0, max: 260_000 }), (changes, sizeBytes) => {
        const store = sound.clone();
        for (const [at, value] of changes) store.write(at % (at % 2 === 0 ? 400 : 200_000), Uint8Array.of(value), 0, 1);
        store.setSize(sizeBytes);
        try {
          const tracker = ChangeTracker.open(store);
          tracker.opened(stateOf(64 * MIB));
          tracker.beforeChange(0, 4096);
          tracker.query(tracker.takeReferencePoint(), 0, 64 * MIB, everything);
        } catch (error) {
          if (!(error instanceof HvError)) throw error;
        }
      }),
      { numRuns: 300 },
    );
  });

  test('reads ids of any case, and nothing else', () => {
    const id = 'rctX:5BFDE23B:ce75:4303:b54f:6c18394f105c:0000000A';
    expect(parseChangeTrackingId(id)).toEqual({ branch: '5bfde23b-ce75-4303-b54f-6c18394f105c', counter: 10 });
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(() => parseChangeTrackingId(text)).toThrow(HvError);
      }),
    );
  });
});
