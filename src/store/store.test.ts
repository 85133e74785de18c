import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ByteStore } from './byte-store.ts';
import { FileStore, MemoryStore, SliceStore } from './index.ts';
import { FaultStore, ProcessDeath, seededRandom } from './testing/fault-store.ts';

const MAXIMUM = 300_000;
const change = fc.oneof(
  fc.record({
    kind: fc.constant('write' as const),
    at: fc.nat(MAXIMUM),
    length: fc.nat(70_000),
    value: fc.integer({ min: 1, max: 255 }),
  }),
  fc.record({
    kind: fc.constant('zero' as const),
    at: fc.nat(MAXIMUM),
    length: fc.nat(200_000),
    value: fc.constant(0),
  }),
  fc.record({ kind: fc.constant('size' as const), at: fc.nat(MAXIMUM), length: fc.constant(0), value: fc.constant(0) }),
);

/** Every store behaves as one array of bytes does. */
function behavesAsBytes(make: () => ByteStore, runs: number): void {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 12 }), (changes) => {
      const store = make();
      let size = 0;
      const model = new Uint8Array(MAXIMUM * 2);
      for (const { kind, at, length, value } of changes) {
        if (kind === 'write') {
          const bytes = new Uint8Array(length + 3).fill(value);
          store.write(at, bytes, 3, length);
          model.fill(value, at, at + length);
          if (length > 0) size = Math.max(size, at + length);
        } else if (kind === 'zero') {
          const inside = Math.max(0, Math.min(length, size - at));
          store.punchHole(at, inside);
          model.fill(0, at, at + inside);
        } else {
          store.setSize(at);
          if (at < size) model.fill(0, at, size);
          size = at;
        }
      }
      const content = new Uint8Array(MAXIMUM * 2 + 7).fill(0xee);
      store.read(0, content, 7, MAXIMUM * 2);
      const isSame = Buffer.compare(content.subarray(7), model) === 0 && store.size() === size;
      store.close();
      return isSame;
    }),
    { numRuns: runs },
  );
}

describe('stores', () => {
  test('a memory store is an array of bytes, and its clones are their own', () => {
    behavesAsBytes(() => new MemoryStore(), 150);
    behavesAsBytes(() => new MemoryStore().clone(), 50);
    const first = new MemoryStore(new Uint8Array(10).fill(1));
    const second = first.clone();
    first.write(0, new Uint8Array(1), 0, 1);
    second.write(1, new Uint8Array(1), 0, 1);
    const bytes = new Uint8Array(4);
    first.read(0, bytes, 0, 2);
    second.read(0, bytes, 2, 2);
    expect([...bytes]).toEqual([0, 1, 1, 0]);
  });

  test('a file store is an array of bytes', () => {
    const folder = mkdtempSync(join(tmpdir(), 'hv-store-'));
    let count = 0;
    try {
      behavesAsBytes(() => new FileStore(openSync(join(folder, `${count++}`), 'w+'), 'file', { readOnly: false }), 60);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('a file store tells what the system refused, and closes once', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'hv-store-'));
    try {
      let closed = 0;
      const store = new FileStore(openSync(join(folder, 'a'), 'w+'), 'a', { readOnly: false, onClose: () => closed++ });
      store.write(0, new Uint8Array(10), 0, 10);
      await store.flush();
      await store.flush();
      store.flushSync();
      expect(() => store.setSize(2 ** 52)).toThrow(expect.objectContaining({ code: 'no-space' }));
      store.close();
      store.close();
      expect(closed).toBe(1);
      const reader = new FileStore(openSync(join(folder, 'a'), 'r'), 'a', { readOnly: true });
      expect(() => reader.write(0, new Uint8Array(1), 0, 1)).toThrow(
        expect.objectContaining({ code: 'permission-denied' }),
      );
      closeSync(reader.fd);
      expect(() => reader.read(0, new Uint8Array(1), 0, 1)).toThrow(expect.objectContaining({ code: 'io' }));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('a failed flush of a file is never forgiven', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'hv-store-'));
    try {
      const store = new FileStore(openSync(join(folder, 'a'), 'w+'), 'a', { readOnly: false });
      store.write(0, new Uint8Array(1), 0, 1);
      closeSync(store.fd);
      await expect(store.flush()).rejects.toMatchObject({ code: 'io' });
      expect(() => store.flushSync()).toThrow(expect.objectContaining({ code: 'io' }));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('a slice ends where it ends', () => {
    const base = new MemoryStore(new Uint8Array(100).fill(1));
    const slice = new SliceStore(base, 10, 20);
    const bytes = new Uint8Array(30).fill(9);
    slice.read(5, bytes, 0, 30);
    expect([...bytes]).toEqual([...new Array(15).fill(1), ...new Array(15).fill(0)]);
    expect(() => slice.write(15, bytes, 0, 6)).toThrow(expect.objectContaining({ code: 'no-space' }));
    slice.write(15, bytes, 0, 5);
    base.read(25, bytes, 0, 5);
    expect([...bytes.subarray(0, 5)]).toEqual([1, 1, 1, 1, 1]);
  });
});

describe('the store that goes wrong', () => {
  const page = (value: number): Uint8Array => new Uint8Array(4096).fill(value);
  const firstBytes = (store: ByteStore): number[] =>
    [0, 1, 2].map((index) => {
      const byte = new Uint8Array(1);
      store.read(index * 4096 + 100, byte, 0, 1);
      return byte[0] ?? -1;
    });

  test('a power cut keeps what was flushed and makes every other page old or new by itself', () => {
    const store = new FaultStore(new MemoryStore(new Uint8Array(12_288)));
    store.write(0, page(1), 0, 4096);
    store.flushSync();
    store.write(0, page(2), 0, 4096);
    store.write(4096, new Uint8Array(8192).fill(3), 0, 8192);
    const replay = store.replayer();
    replay.advance(store.events.length);
    const seen = new Set<string>();
    const random = seededRandom(1);
    for (let round = 0; round < 200; round++) seen.add(firstBytes(replay.afterPowerCut(random)).join());
    expect([...seen].sort()).toEqual(['1,0,0', '1,0,3', '1,3,0', '1,3,3', '2,0,0', '2,0,3', '2,3,0', '2,3,3']);
    expect(firstBytes(replay.content())).toEqual([2, 3, 3]);
  });

  test('it dies after the change that it was told, which is still done', () => {
    const store = new FaultStore();
    store.dieAfterChanges = 2;
    store.write(0, page(1), 0, 4096);
    expect(() => store.write(4096, page(2), 0, 4096)).toThrow(ProcessDeath);
    expect(() => store.write(8192, page(3), 0, 4096)).toThrow(ProcessDeath);
    expect(firstBytes(store.content())).toEqual([1, 2, 0]);
  });

  test('it fails the call that it was told, and fills up', () => {
    const store = new FaultStore();
    store.failWrite = 2;
    store.write(0, page(1), 0, 4096);
    expect(() => store.write(0, page(2), 0, 4096)).toThrow(expect.objectContaining({ code: 'io' }));
    store.capacityBytes = 8192;
    store.write(4096, page(2), 0, 4096);
    expect(() => store.write(8192, page(3), 0, 1)).toThrow(expect.objectContaining({ code: 'no-space' }));
    expect(store.counts.write).toBe(4);
  });
});
