import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { randomGuid } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import { MemoryStore } from '../../store/index.ts';
import { FaultStore, seededRandom } from '../../store/testing/fault-store.ts';
import { ChangeTracker } from './change-tracker.ts';
import { parseChangeTrackingId } from './change-tracking-id.ts';
import { UNIT_MAP_OFFSET } from './format.ts';

const MIB = 2 ** 20;
const TIB = 2 ** 40;
const GUID = randomGuid();
const everything = Number.POSITIVE_INFINITY;

const stateOf = (sizeBytes: number) => ({ sizeBytes, fileWriteGuid: GUID, headerSequence: 7n });
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

  test('that takes over what was merged answers for its points, after a power cut at any moment of it too', () => {
    const unit = 64 * 1024;
    const at = (index: number) => ({ offsetBytes: index * unit, lengthBytes: unit });
    const write = (tracker: ChangeTracker, index: number) => tracker.beforeChange(index * unit, 512);
    const store = new FaultStore();
    const lower = ChangeTracker.create(store, stateOf(256 * MIB));
    write(lower, 1);
    const lowerId = lower.takeReferencePoint();
    write(lower, 2);
    const upper = ChangeTracker.create(new MemoryStore(), stateOf(256 * MIB));
    const upperIds = [upper.state().mostRecentId ?? ''];
    for (const index of [3, 4]) {
      write(upper, index);
      upperIds.push(upper.takeReferencePoint());
    }
    write(upper, 5);
    const answers = (tracker: ChangeTracker) =>
      [lowerId, ...upperIds].map((id) => tracker.query(id, 0, 256 * MIB, everything).ranges);
    // The copy of a merge writes what the upper file holds.
    for (const index of [0, 3, 4, 5]) write(lower, index);
    const from = store.events.length;
    const held = [{ offsetBytes: 0, lengthBytes: 512 }, at(3), at(4), at(5)];
    lower.absorb([{ tracker: upper, held }]);
    const told = [
      [at(0), { offsetBytes: 2 * unit, lengthBytes: 4 * unit }],
      [{ offsetBytes: 3 * unit, lengthBytes: 3 * unit }],
      [{ offsetBytes: 4 * unit, lengthBytes: 2 * unit }],
      [at(5)],
    ];
    expect(answers(lower)).toEqual(told);
    lower.absorb([{ tracker: upper, held }]);
    expect(answers(lower)).toEqual(told);
    expect(lower.state()).toEqual({ newerChanges: true, mostRecentId: upperIds.at(-1) });

    const random = seededRandom(1);
    const replay = store.replayer();
    let knowing = 0;
    for (let moment = from; moment <= store.events.length; moment++) {
      replay.advance(moment);
      for (const left of [replay.content(), replay.afterPowerCut(random), replay.afterPowerCut(random)]) {
        const again = ChangeTracker.open(left);
        again.opened(stateOf(256 * MIB));
        // What was left in the middle of a merge: its files are all there, and what it did is done again.
        const isWhole = upperIds.map((id) => again.knows(id));
        expect(new Set(isWhole).size, `moment ${moment}`).toBe(1);
        if (isWhole[0]) knowing++;
        for (const [index, id] of [lowerId, ...upperIds].entries()) {
          if (!again.knows(id)) continue;
          const covered = again.query(id, 0, 256 * MIB, everything).ranges;
          const missed = (told[index] ?? []).filter(
            ({ offsetBytes, lengthBytes }) =>
              !covered.some(
                (one) =>
                  one.offsetBytes <= offsetBytes && offsetBytes + lengthBytes <= one.offsetBytes + one.lengthBytes,
              ),
          );
          expect(missed, `moment ${moment}, ${id}`).toEqual([]);
        }
      }
    }
    expect(knowing).toBeGreaterThan(5);
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
