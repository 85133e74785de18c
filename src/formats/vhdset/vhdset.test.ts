import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { randomGuid } from '../../binary/index.ts';
import { isHvError } from '../../errors/index.ts';
import { MemoryStore } from '../../store/index.ts';
import { FaultStore, ProcessDeath, seededRandom } from '../../store/testing/fault-store.ts';
import { createVhdSetContainer, readVhdSet, type VhdSetState, writeVhdSet } from './index.ts';
import { encodeState, parseState } from './state.ts';

const [DISK, A, B, C, S1, S2] = Array.from({ length: 6 }, () => randomGuid()) as [
  string,
  string,
  string,
  string,
  string,
  string,
];

const STATE: VhdSetState = {
  virtualDiskId: DISK,
  leafId: C,
  currentSnapshotId: S1,
  defaultPath: 'snapshots',
  files: [
    { id: A, path: 'disk_a.avhdx', parentId: null },
    { id: B, path: 'snapshots/disk_b.avhdx', parentId: A },
    { id: C, path: '/elsewhere/disk_c.avhdx', parentId: B },
  ],
  snapshots: [
    {
      id: S1,
      fileId: A,
      creationTime: '2025-01-02T03:04:05.678Z',
      parentSnapshotId: null,
      isWriteable: false,
      rctId: 'rctX:1',
    },
    {
      id: S2,
      fileId: null,
      creationTime: '2025-01-02T03:04:05.678Z',
      parentSnapshotId: S1,
      isWriteable: true,
      rctId: null,
    },
  ],
  leftovers: ['disk_gone.avhdx'],
  merging: { fileId: C, isCopied: true },
};

function make(state: VhdSetState = STATE): MemoryStore {
  const store = new MemoryStore();
  createVhdSetContainer(store, randomGuid(), state);
  return store;
}

const parse = (value: unknown): VhdSetState => parseState('x', Buffer.from(JSON.stringify(value)), 0);

describe('a state', () => {
  test('comes back as it was written, in the same bytes', () => {
    expect(readVhdSet(make()).state).toEqual(STATE);
    const bytes = encodeState(STATE);
    expect(Buffer.from(encodeState(parseState('x', bytes, 0))).equals(bytes)).toBe(true);
  });

  test.each([
    ['state-text', []],
    ['state-field', { ...STATE, virtualDiskId: 'x' }],
    ['state-field', { ...STATE, leafId: undefined }],
    ['state-field', { ...STATE, files: [{ ...STATE.files[0], path: 'a\0b' }] }],
    ['state-field', { ...STATE, files: [{ ...STATE.files[0], path: 'x'.repeat(5000) }] }],
    ['state-field', { ...STATE, snapshots: [{ ...STATE.snapshots[0], creationTime: 'yesterday' }] }],
    ['state-field', { ...STATE, leftovers: [1] }],
    ['state-count', { ...STATE, leftovers: Array.from({ length: 5000 }, (_, index) => `${index}`) }],
    ['state-duplicate', { ...STATE, files: [...STATE.files, STATE.files[0]] }],
    ['state-duplicate', { ...STATE, files: STATE.files.map((file) => ({ ...file, path: 'same' })) }],
    ['state-duplicate', { ...STATE, leftovers: ['disk_a.avhdx'] }],
    ['state-link', { ...STATE, leafId: S1 }],
    ['state-link', { ...STATE, currentSnapshotId: A }],
    ['state-link', { ...STATE, merging: { fileId: A, isCopied: false } }],
    ['state-link', { ...STATE, files: STATE.files.slice(1) }],
    ['state-loop', { ...STATE, files: STATE.files.map((file, at) => (at === 0 ? { ...file, parentId: C } : file)) }],
    ['state-loop', { ...STATE, snapshots: STATE.snapshots.map((one) => ({ ...one, parentSnapshotId: S2 })) }],
  ])('that breaks a rule is refused: %s', (reason, value) => {
    expect(() => parse(value)).toThrow(
      expect.objectContaining({ code: 'corrupt', detail: expect.objectContaining({ reason }) }),
    );
  });

  test('that is larger than a container may hold is refused before anything is written', () => {
    const store = make();
    const before = readVhdSet(store);
    const files = Array.from({ length: 4000 }, (_, index) => {
      return { id: randomGuid(), path: `${index}${'x'.repeat(400)}`, parentId: null };
    });
    expect(() => writeVhdSet(store, before, { ...STATE, files: [...STATE.files, ...files] })).toThrow(
      expect.objectContaining({ code: 'unsupported' }),
    );
    expect(readVhdSet(store)).toEqual(before);
  });
});

describe('a container', () => {
  test('that hv did not make is refused as such', () => {
    for (const content of [new Uint8Array(0), new Uint8Array(300_000), Buffer.from('vhdxfile')]) {
      expect(() => readVhdSet(new MemoryStore(content))).toThrow(expect.objectContaining({ code: 'unsupported' }));
    }
  });

  test('holds the newer of two states, and the older where the newer is damaged', () => {
    const store = make();
    const next = { ...STATE, leftovers: [] };
    const written = writeVhdSet(store, readVhdSet(store), next);
    expect(readVhdSet(store).state).toEqual(next);
    const offset = written.copy === 0 ? 64 * 1024 : 64 * 1024 + 1024 * 1024;
    store.write(offset + 5, new Uint8Array([1]), 0, 1);
    expect(readVhdSet(store).state).toEqual(STATE);
    store.write(4096, new Uint8Array(8192), 0, 8192);
    expect(() => readVhdSet(store)).toThrow(
      expect.objectContaining({ detail: expect.objectContaining({ reason: 'no-valid-state' }) }),
    );
  });

  test('holds the old state or the new one after death and power cut at every write', () => {
    const random = seededRandom(3);
    const states = [STATE, { ...STATE, leftovers: [] }, { ...STATE, merging: null }];
    const initial = make();
    const store = new FaultStore(initial);
    let current = readVhdSet(store);
    const endOf = [0];
    for (let round = 1; round <= 12; round++) {
      current = writeVhdSet(store, current, states[round % 3] ?? STATE);
      endOf.push(store.events.length);
    }
    const replay = store.replayer();
    let moments = 0;
    for (let events = 0; events <= store.events.length; events++) {
      replay.advance(events);
      const done = endOf.findLastIndex((end) => end <= events);
      for (const content of [replay.content(), ...Array.from({ length: 8 }, () => replay.afterPowerCut(random))]) {
        const found = readVhdSet(content);
        expect([states[done % 3], states[(done + 1) % 3]]).toContainEqual(found.state);
        // And it can be written on.
        expect(readVhdSet(content)).toEqual(found);
        writeVhdSet(content, found, STATE);
        expect(readVhdSet(content).state).toEqual(STATE);
        moments++;
      }
    }
    expect(moments).toBeGreaterThan(400);
  });

  test('whose making is cut short is none', () => {
    let died = true;
    for (let budget = 1; died; budget++) {
      const store = new FaultStore();
      store.dieAfterChanges = budget;
      try {
        createVhdSetContainer(store, randomGuid(), STATE);
        died = false;
      } catch (error) {
        if (!(error instanceof ProcessDeath)) throw error;
      }
      try {
        expect(readVhdSet(store.content()).state).toEqual(STATE);
      } catch (error) {
        if (!isHvError(error, 'unsupported') && !isHvError(error, 'corrupt')) throw error;
        expect(died).toBe(true);
      }
    }
  });

  test('of any bytes gives a state or an error of hv', () => {
    const sound = Buffer.alloc(64 * 1024 + 4096);
    make().read(0, sound, 0, sound.length);
    const damage = fc.array(fc.tuple(fc.nat(sound.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 });
    const answer = (content: Uint8Array): void => {
      try {
        readVhdSet(new MemoryStore(content));
      } catch (error) {
        if (!isHvError(error)) throw error;
      }
    };
    fc.assert(
      fc.property(damage, (bytes) => {
        const copy = Buffer.from(sound);
        for (const [at, value] of bytes) copy[at] = value;
        answer(copy);
      }),
      { numRuns: 300 },
    );
    fc.assert(fc.property(fc.uint8Array({ maxLength: 20_000 }), answer), { numRuns: 100 });
  });

  test('with any JSON for its state gives a state or an error of hv', () => {
    const id = fc.constantFrom(A, B, C, S1, null, 'x', 7);
    const near = fc.record(
      {
        virtualDiskId: id,
        leafId: id,
        currentSnapshotId: id,
        defaultPath: fc.oneof(fc.string(), fc.constant(null)),
        files: fc.array(fc.record({ id, path: fc.string(), parentId: id }, { requiredKeys: [] }), { maxLength: 5 }),
        snapshots: fc.array(fc.record({ id, fileId: id, parentSnapshotId: id }, { requiredKeys: [] }), {
          maxLength: 3,
        }),
        leftovers: fc.array(fc.string(), { maxLength: 3 }),
        merging: fc.oneof(fc.constant(null), fc.record({ fileId: id, isCopied: fc.boolean() })),
      },
      { requiredKeys: ['leafId', 'files'] },
    );
    fc.assert(
      fc.property(fc.oneof(near, fc.jsonValue(), fc.constant(STATE)), (value) => {
        try {
          const state = parse(value);
          expect(parseState('x', encodeState(state), 0)).toEqual(state);
        } catch (error) {
          if (!isHvError(error, 'corrupt')) throw error;
        }
      }),
      { numRuns: 2000 },
    );
  });
});
