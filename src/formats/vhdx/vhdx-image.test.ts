import { describe, expect, test } from 'vitest';
import { randomGuid, ZERO_GUID } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import { MemoryStore } from '../../store/index.ts';
import { FaultStore, seededRandom } from '../../store/testing/fault-store.ts';
import type { ParentDisk } from '../disk-image.ts';
import { createVhdx, type NewVhdx } from './create.ts';
import { locatorPairs } from './locator.ts';
import { VhdxImage } from './vhdx-image.ts';

const MIB = 1024 * 1024;
const PATHS = { relativePath: '.\\parent.vhdx', absolutePath: undefined };

function newDisk(spec: Partial<NewVhdx> = {}): MemoryStore {
  const store = new MemoryStore();
  createVhdx(store, {
    type: 'dynamic',
    virtualSizeBytes: 64 * MIB,
    ...(spec.type === 'differencing' ? { locator: locatorPairs(randomGuid(), ZERO_GUID, PATHS) } : {}),
    ...spec,
  });
  return store;
}

function filledParent(sizeBytes: number, value: number): ParentDisk {
  return {
    sizeBytes,
    read: (_offset, target, targetStart, length) => target.fill(value, targetStart, targetStart + length),
    *segments(offset, length, depth) {
      yield { offset, length, kind: 'data', depth, store: undefined, fileOffset: offset };
    },
  };
}

function readBytes(image: VhdxImage, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length).fill(0xee);
  image.read(offset, bytes, 0, length);
  return bytes;
}

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof HvError)
      return error.code === 'corrupt' ? `corrupt ${String(error.detail.reason)}` : error.code;
    throw error;
  }
  return 'nothing';
}

describe('identity', () => {
  test('DataWriteGuid changes once a session, at the first write, and FileWriteGuid with it', async () => {
    const store = newDisk();
    const before = VhdxImage.open(store).header;
    const image = VhdxImage.open(store);
    readBytes(image, 0, 512);
    await image.close();
    expect(VhdxImage.open(store).header).toEqual(before);
    const writing = VhdxImage.open(store);
    writing.write(0, new Uint8Array(512).fill(1), 0, 512);
    const first = writing.header;
    writing.write(40 * MIB, new Uint8Array(512).fill(1), 0, 512);
    expect(writing.header.dataWriteGuid).toBe(first.dataWriteGuid);
    expect(first.dataWriteGuid).not.toBe(before.dataWriteGuid);
    expect(first.fileWriteGuid).not.toBe(before.fileWriteGuid);
    await writing.close();
    expect(VhdxImage.open(store).header.logGuid).toBe(ZERO_GUID);
  });

  test('a write into a block that is there is one write of the file and no flush', () => {
    const store = new FaultStore(newDisk());
    const image = VhdxImage.open(store);
    image.write(0, new Uint8Array(4096).fill(1), 0, 4096);
    const { write, flush } = { ...store.counts };
    image.write(8192, new Uint8Array(4096).fill(2), 0, 4096);
    expect(store.counts.write).toBe(write + 1);
    expect(store.counts.flush).toBe(flush);
  });
});

describe('a file above a parent', () => {
  test('a sector in the middle of a block leaves the parent visible around it, at any alignment', () => {
    for (const logicalSectorSizeBytes of [512, 4096]) {
      const image = VhdxImage.open(newDisk({ type: 'differencing', logicalSectorSizeBytes }));
      image.setParent(filledParent(64 * MIB, 7));
      image.write(5 * MIB + 100, new Uint8Array(700).fill(9), 0, 700);
      const around = readBytes(image, 5 * MIB, 8192);
      expect(around.subarray(0, 100).every((byte) => byte === 7)).toBe(true);
      expect(around.subarray(100, 800).every((byte) => byte === 9)).toBe(true);
      expect(around.subarray(800).every((byte) => byte === 7)).toBe(true);
    }
  });

  test('a parent that is shorter reads as zero beyond its end', () => {
    const image = VhdxImage.open(newDisk({ type: 'differencing' }));
    image.setParent(filledParent(MIB + 512, 7));
    const bytes = readBytes(image, MIB, 1024);
    expect([...bytes.subarray(0, 512)].every((byte) => byte === 7)).toBe(true);
    expect([...bytes.subarray(512)].every((byte) => byte === 0)).toBe(true);
  });

  test('bits that an earlier life of a block left in the sector bitmap do not come back', async () => {
    const store = newDisk({ type: 'differencing', blockSizeBytes: MIB });
    const image = VhdxImage.open(store);
    image.setParent(filledParent(64 * MIB, 7));
    image.write(MIB, new Uint8Array(4096).fill(1), 0, 4096);
    image.write(0, new Uint8Array(8192).fill(1), 0, 8192);
    await image.close();
    // Another program may give a block back to the parent and leave its bits as they were.
    store.write(3 * MIB, new Uint8Array(8), 0, 8);
    const again = VhdxImage.open(store);
    again.setParent(filledParent(64 * MIB, 7));
    expect(readBytes(again, 4096, 1)[0]).toBe(7);
    again.write(0, new Uint8Array(512).fill(2), 0, 512);
    expect(readBytes(again, 0, 1)[0]).toBe(2);
    expect(readBytes(again, 4096, 1)[0]).toBe(7);
  });

  test('a partly present block without a sector bitmap is refused when it is read', async () => {
    const store = newDisk({ type: 'differencing' });
    const image = VhdxImage.open(store);
    image.setParent(filledParent(64 * MIB, 7));
    image.write(0, new Uint8Array(512).fill(1), 0, 512);
    await image.close();
    // 2048 blocks of 2 MiB make a chunk; the entry of its bitmap follows theirs.
    store.write(3 * MIB + 2048 * 8, new Uint8Array(8), 0, 8);
    const again = VhdxImage.open(store);
    again.setParent(filledParent(64 * MIB, 7));
    expect(codeOf(() => readBytes(again, 0, 512))).toBe('corrupt bitmap-missing');
    expect(codeOf(() => again.write(0, new Uint8Array(512), 0, 512))).toBe('corrupt bitmap-missing');
  });

  test('zeroed and trimmed blocks hide the parent', () => {
    const image = VhdxImage.open(newDisk({ type: 'differencing' }));
    image.setParent(filledParent(64 * MIB, 7));
    image.writeZeroes(2 * MIB, 2 * MIB, true);
    expect(readBytes(image, 3 * MIB, 1)[0]).toBe(0);
    image.write(8 * MIB, new Uint8Array(512).fill(1), 0, 512);
    image.trim(8 * MIB, 2 * MIB);
    expect(readBytes(image, 8 * MIB, 1)[0]).toBe(0);
    image.write(2 * MIB, new Uint8Array(512).fill(1), 0, 512);
    expect(readBytes(image, 2 * MIB + 512, 1)[0]).toBe(0);
    expect([...image.segments(0, 12 * MIB)].map(({ kind, depth, length }) => [kind, depth, length / 512])).toEqual([
      ['data', 1, 4096],
      ['data', 0, 4096],
      ['data', 1, 8192],
      ['zero', 0, 4096],
      ['data', 1, 4096],
    ]);
  });

  test('reading what only the parent has needs the parent', () => {
    const image = VhdxImage.open(newDisk({ type: 'differencing' }));
    expect(codeOf(() => readBytes(image, 0, 512))).toBe('invalid-state');
  });
});

describe('a disk that fails', () => {
  /** Random writes on a store that fails once; whatever was acknowledged is there afterwards, also in a new session. */
  async function survive(fail: (store: FaultStore) => void, expectedCode: string): Promise<number> {
    const store = new FaultStore(newDisk({ type: 'differencing', blockSizeBytes: MIB, virtualSizeBytes: 16 * MIB }));
    const parent = filledParent(16 * MIB, 7);
    const image = VhdxImage.open(store, { hostRun: randomGuid(), backgroundFlush: false });
    image.setParent(parent);
    fail(store);
    const random = seededRandom(3);
    const content = new Uint8Array(16 * MIB).fill(7);
    let failures = 0;
    for (let round = 0; round < 60; round++) {
      const offset = Math.floor(random() * 32) * 512 * 1024;
      const bytes = new Uint8Array(4096).fill(round + 10);
      try {
        image.write(offset, bytes, 0, bytes.length);
        content.set(bytes, offset);
      } catch (error) {
        expect(error).toMatchObject({ code: expectedCode });
        failures++;
        image.read(offset, content, offset, bytes.length);
      }
    }
    expect(Buffer.from(readBytes(image, 0, content.length)).equals(content)).toBe(true);
    store.capacityBytes = Number.POSITIVE_INFINITY;
    await image.close();
    const again = VhdxImage.open(store.content());
    again.setParent(parent);
    expect(Buffer.from(readBytes(again, 0, content.length)).equals(content)).toBe(true);
    return failures;
  }

  test('any single failed write fails one request and harms nothing else', async () => {
    for (let number = 1; number <= 80; number += 3) {
      expect(await survive((store) => (store.failWrite = store.counts.write + number), 'io')).toBe(1);
    }
  });

  test('a seal that fails at any write can be tried again, and the file is sound at every moment', async () => {
    for (let number = 1; number <= 4; number++) {
      const store = new FaultStore(newDisk());
      const image = VhdxImage.open(store);
      image.write(0, new Uint8Array(512).fill(1), 0, 512);
      store.failWrite = store.counts.write + number;
      const failed = codeOf(() => image.seal());
      if (failed === 'io') {
        image.write(40 * MIB, new Uint8Array(512).fill(2), 0, 512);
        const dead = VhdxImage.open(store.content());
        expect([readBytes(dead, 0, 1)[0], readBytes(dead, 40 * MIB, 1)[0]]).toEqual([1, 2]);
        image.seal();
      }
      expect(failed).toBe(number <= 3 ? 'io' : 'nothing');
      expect(VhdxImage.open(store.content()).header.logGuid).toBe(ZERO_GUID);
    }
  });

  test('a full disk refuses what needs space and keeps the rest', async () => {
    expect(await survive((store) => (store.capacityBytes = store.size() + 6 * MIB), 'no-space')).toBeGreaterThan(5);
  });

  test('a failed flush is told to whoever waits for it', async () => {
    const store = new FaultStore(newDisk());
    const image = VhdxImage.open(store);
    image.write(0, new Uint8Array(512).fill(1), 0, 512);
    store.failFlush = store.counts.flush + 1;
    await expect(image.flush()).rejects.toMatchObject({ code: 'io' });
  });
});

describe('limits', () => {
  test('a disk of 64 TiB in blocks of 1 MiB costs no memory until it is used', () => {
    const image = VhdxImage.open(newDisk({ virtualSizeBytes: 64 * 2 ** 40, blockSizeBytes: MIB }));
    const before = process.memoryUsage().arrayBuffers;
    const offset = 64 * 2 ** 40 - 4096;
    image.write(offset, new Uint8Array(4096).fill(5), 0, 4096);
    expect(readBytes(image, offset, 4096).every((byte) => byte === 5)).toBe(true);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * MIB);
  });

  test('sizes that the format does not have are refused', () => {
    const refused = { type: 'dynamic', virtualSizeBytes: 64 * MIB } as const;
    for (const wrong of [
      { virtualSizeBytes: 0 },
      { virtualSizeBytes: 3 * MIB - 512 },
      { virtualSizeBytes: 64 * 2 ** 40 + 512 },
      { virtualSizeBytes: 64 * MIB + 1 },
      { virtualSizeBytes: Number.NaN },
      { blockSizeBytes: 3 * MIB },
      { blockSizeBytes: 512 * 1024 },
      { blockSizeBytes: 512 * MIB },
      { logicalSectorSizeBytes: 1024 },
      { physicalSectorSizeBytes: 8192 },
    ]) {
      expect(codeOf(() => createVhdx(new MemoryStore(), { ...refused, ...wrong }))).toBe('invalid-argument');
    }
  });

  test('ranges outside of the disk are refused', () => {
    const image = VhdxImage.open(newDisk());
    expect(codeOf(() => readBytes(image, 64 * MIB - 1, 2))).toBe('invalid-argument');
    expect(codeOf(() => image.write(-1, new Uint8Array(1), 0, 1))).toBe('invalid-argument');
    expect(codeOf(() => image.trim(0, 65 * MIB))).toBe('invalid-argument');
  });

  test('a read-only disk refuses to change', () => {
    const image = VhdxImage.open(newDisk(), { readOnly: true });
    for (const change of [
      () => image.write(0, new Uint8Array(1), 0, 1),
      () => image.writeZeroes(0, 512, true),
      () => image.settleContentId(),
    ]) {
      expect(codeOf(change)).toBe('permission-denied');
    }
  });
});

describe('damage has a reason of its own', () => {
  const uint32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
  for (const [what, at, bytes, expected] of [
    ['another signature', 0, uint32(1), 'corrupt file-signature'],
    ['a reserved bit of a block entry', 3 * MIB, uint32(8), 'corrupt bat-entry-reserved'],
    ['a state that does not exist', 3 * MIB, uint32(5), 'corrupt bat-entry-state'],
    ['a partly present block without a parent', 3 * MIB, uint32(7 + 4 * 2 ** 20), 'corrupt bat-entry-state'],
    ['a block without a place', 3 * MIB, uint32(6), 'corrupt bat-entry-offset'],
    ['a block over the log', 3 * MIB, uint32(6 + 2 ** 20), 'corrupt bat-entry-overlap'],
    ['a block beyond the end', 3 * MIB, uint32(6 + 400 * 2 ** 20), 'corrupt bat-entry-beyond-end'],
    ['an unknown metadata table', 2 * MIB, uint32(0), 'corrupt metadata-signature'],
    ['a block size of 3 bytes', 2 * MIB + 65536, uint32(3), 'corrupt block-size'],
    ['a disk of no bytes', 2 * MIB + 65536 + 8, uint32(0), 'corrupt disk-size'],
    ['sectors of 513 bytes', 2 * MIB + 65536 + 16, uint32(513), 'corrupt sector-size'],
  ] as const) {
    test(what, async () => {
      const store = newDisk();
      const image = VhdxImage.open(store);
      image.write(40 * MIB, new Uint8Array(512).fill(1), 0, 512);
      await image.close();
      store.write(at, bytes, 0, bytes.length);
      expect(codeOf(() => VhdxImage.open(store))).toBe(expected);
    });
  }
});
