import { describe, expect, test } from 'vitest';
import { randomGuid, ZERO_GUID } from '../../binary/index.ts';
import { MemoryStore } from '../../store/index.ts';
import { FaultStore, seededRandom } from '../../store/testing/fault-store.ts';
import type { ParentDisk } from '../disk-image.ts';
import { createVhdx, type NewVhdx } from './create.ts';
import { locatorPairs } from './locator.ts';
import { VhdxImage } from './vhdx-image.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const WINDOW = 64 * 1024;
const PARENT_BYTE = 0x77;

interface Shape {
  readonly type: NewVhdx['type'];
  readonly sectorSize: 512 | 4096;
  readonly blockSize: number;
  /** Where on the disk the test looks: around the ends of blocks, of chunks, of the table's first region. */
  readonly places: readonly number[];
  readonly parentBytes?: number;
}

const NEAR = [0, 3 * MIB, 4 * MIB - WINDOW, 4 * MIB, 6 * MIB - 8192, 11 * MIB, 19 * MIB + 4096];
const FAR = [0, 3 * MIB, 5 * MIB - WINDOW, 4096 * MIB - WINDOW, 4096 * MIB, 100 * GIB, 127 * GIB, 129 * GIB, 300 * GIB];
const SHAPES: readonly Shape[] = [
  { type: 'dynamic', sectorSize: 512, blockSize: MIB, places: FAR },
  { type: 'dynamic', sectorSize: 4096, blockSize: 2 * MIB, places: FAR },
  { type: 'fixed', sectorSize: 512, blockSize: MIB, places: NEAR },
  { type: 'fixed', sectorSize: 512, blockSize: 2 * MIB, places: [0, 3 * MIB, 255 * GIB, 258 * GIB] },
  { type: 'differencing', sectorSize: 512, blockSize: MIB, places: FAR, parentBytes: 128 * GIB },
  { type: 'differencing', sectorSize: 4096, blockSize: 2 * MIB, places: NEAR, parentBytes: 12 * MIB },
  { type: 'differencing', sectorSize: 512, blockSize: 2 * MIB, places: NEAR, parentBytes: 3 * MIB },
];

function newDisk(shape: Shape, sizeBytes: number): MemoryStore {
  const store = new MemoryStore();
  createVhdx(store, {
    type: shape.type,
    virtualSizeBytes: sizeBytes,
    blockSizeBytes: shape.blockSize,
    logicalSectorSizeBytes: shape.sectorSize,
    ...(shape.type === 'differencing'
      ? {
          locator: locatorPairs(randomGuid(), ZERO_GUID, { relativePath: '.\\parent.vhdx', absolutePath: undefined }),
        }
      : {}),
  });
  return store;
}

function filledParent(sizeBytes: number): ParentDisk {
  return {
    sizeBytes,
    read: (_offset, target, start, length) => target.fill(PARENT_BYTE, start, start + length),
    *segments(offset, length, depth) {
      yield { offset, length, kind: 'data', depth, store: undefined, fileOffset: offset };
    },
  };
}

/** What windows of a disk hold, as a plain array each. */
class Model {
  sizeBytes: number;
  readonly #windows: ReadonlyMap<number, Uint8Array>;

  constructor(shape: Shape, sizeBytes: number) {
    this.sizeBytes = sizeBytes;
    this.#windows = new Map(
      shape.places.map((place) => {
        const bytes = new Uint8Array(WINDOW);
        bytes.fill(PARENT_BYTE, 0, clamp(Math.min(shape.parentBytes ?? 0, sizeBytes) - place));
        return [place, bytes];
      }),
    );
  }

  set(place: number, from: number, to: number, value: number): void {
    this.#windows.get(place)?.fill(value, from, to);
  }

  resize(sizeBytes: number): void {
    for (const [place, bytes] of this.#windows) bytes.fill(0, clamp(Math.min(sizeBytes, this.sizeBytes) - place));
    this.sizeBytes = sizeBytes;
  }

  inDisk(place: number): number {
    return clamp(this.sizeBytes - place);
  }

  /** @returns the first place that differs */
  difference(image: VhdxImage): string | undefined {
    const bytes = new Uint8Array(WINDOW);
    for (const [place, expected] of this.#windows) {
      const length = this.inDisk(place);
      if (length === 0) continue;
      image.read(place, bytes, 0, length);
      const at = bytes.subarray(0, length).findIndex((value, index) => value !== expected[index]);
      if (at >= 0) return `${place + at} holds ${bytes[at]}, expected ${expected[at]}`;
    }
    return undefined;
  }
}

const clamp = (value: number): number => Math.max(0, Math.min(WINDOW, value));

function open(store: MemoryStore | FaultStore, shape: Shape): VhdxImage {
  const image = VhdxImage.open(store);
  if (shape.parentBytes !== undefined) image.setParent(filledParent(shape.parentBytes));
  return image;
}

describe('resize', () => {
  test.each(SHAPES)(
    'any sequence with writes reads as an array does: $type, $sectorSize, $blockSize',
    async (shape) => {
      const random = seededRandom(shape.blockSize + shape.sectorSize + shape.places.length);
      const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
      const somewhere = (): number => {
        const within = Math.floor((random() * 2 * WINDOW) / shape.sectorSize) * shape.sectorSize;
        return Math.max(3 * MIB, pick(shape.places) + (random() < 0.3 ? 0 : within));
      };
      for (let life = 0; life < 4; life++) {
        const sizeBytes = somewhere();
        const store = newDisk(shape, sizeBytes);
        const model = new Model(shape, sizeBytes);
        let image = open(store, shape);
        for (let step = 0; step < 40; step++) {
          const choice = random();
          const place = pick(shape.places);
          const end = model.inDisk(place);
          if (choice < 0.3) {
            const size = somewhere();
            image.resize(size);
            model.resize(size);
            expect(image.sizeBytes).toBe(size);
          } else if (choice < 0.75 && end > 0) {
            const from = Math.floor(random() * end);
            const to = from + Math.ceil(random() * (end - from));
            const value = 1 + Math.floor(random() * 100);
            image.write(place + from, new Uint8Array(to - from).fill(value), 0, to - from);
            model.set(place, from, to, value);
          } else if (choice < 0.85 && end > 0) {
            image.writeZeroes(place, end, random() < 0.5);
            model.set(place, 0, end, 0);
          } else if (choice < 0.9) {
            await image.flush();
          } else {
            // A process that dies now and then, too.
            if (random() < 0.5) await image.close();
            else await image.flush();
            image = open(store, shape);
          }
          expect(model.difference(image), `life ${life}, step ${step}`).toBeUndefined();
        }
        await image.close();
        const reopened = open(store, shape);
        expect(reopened.sizeBytes).toBe(model.sizeBytes);
        expect(model.difference(reopened), `life ${life}, reopened`).toBeUndefined();
      }
    },
  );

  test('a file that a fixed disk shrinks in ends with its last block; growing takes the space at once', async () => {
    const store = newDisk({ type: 'fixed', sectorSize: 512, blockSize: MIB, places: [] }, 20 * MIB);
    const image = VhdxImage.open(store);
    const before = store.size();
    image.resize(8 * MIB);
    expect(store.size()).toBe(before - 12 * MIB);
    image.resize(16 * MIB);
    expect(store.size()).toBe(before - 4 * MIB);
    expect([...image.segments(0, 16 * MIB)].map(({ kind, length }) => [kind, length])).toEqual([['data', 16 * MIB]]);
    await image.close();
  });

  test('a table that outgrows its region moves, both region tables name its place, the old one is free', async () => {
    const store = newDisk({ type: 'dynamic', sectorSize: 512, blockSize: MIB, places: [] }, 100 * MIB);
    const image = VhdxImage.open(store);
    image.write(99 * MIB, new Uint8Array(MIB).fill(7), 0, MIB);
    const old = image.regions.bat;
    image.resize(64 * 2 ** 40);
    expect(image.regions.bat).toMatchObject({ length: 513 * MIB });
    image.write(64 * 2 ** 40 - 512, new Uint8Array(512).fill(9), 0, 512);
    await image.flush();
    await image.flush();
    image.write(0, new Uint8Array(512).fill(5), 0, 512);
    expect([...image.segments(0, 512)]).toMatchObject([{ fileOffset: old.fileOffset }]);
    await image.close();
    const tables = [192, 256].map((kib) => {
      const bytes = new Uint8Array(64 * 1024);
      store.read(kib * 1024, bytes, 0, bytes.length);
      return Buffer.from(bytes).toString('hex');
    });
    expect(tables[0]).toBe(tables[1]);
    const reopened = VhdxImage.open(store);
    expect(reopened.regions.bat).toEqual(image.regions.bat);
    const bytes = new Uint8Array(512);
    reopened.read(64 * 2 ** 40 - 512, bytes, 0, 512);
    expect(bytes[511]).toBe(9);
    reopened.read(100 * MIB - 512, bytes, 0, 512);
    expect(bytes[0]).toBe(7);
    await reopened.close();
  });

  test('sizes that no disk has are refused, and nothing changes', () => {
    const store = new FaultStore(newDisk({ type: 'dynamic', sectorSize: 4096, blockSize: MIB, places: [] }, 100 * MIB));
    const image = VhdxImage.open(store);
    for (const size of [0, -4096, 4096, 100 * MIB + 512, 64 * 2 ** 40 + 4096, Number.NaN, 5 * MIB + 0.5]) {
      expect(() => image.resize(size), String(size)).toThrow(expect.objectContaining({ code: 'invalid-argument' }));
    }
    image.resize(100 * MIB);
    expect(store.changes).toBe(0);
    const reading = VhdxImage.open(newDisk({ type: 'dynamic', sectorSize: 512, blockSize: MIB, places: [] }, 9 * MIB), {
      readOnly: true,
    });
    expect(() => reading.resize(3 * MIB)).toThrow(expect.objectContaining({ code: 'permission-denied' }));
  });

  test('a resize that has no room, or whose writes fail, leaves the disk as it was', { timeout: 60_000 }, async () => {
    const shape: Shape = { type: 'fixed', sectorSize: 512, blockSize: MIB, places: [0, 4 * MIB] };
    for (let failWrite = 1; failWrite < 16; failWrite++) {
      const store = new FaultStore(newDisk(shape, 5 * MIB));
      const image = VhdxImage.open(store);
      image.write(0, new Uint8Array(512).fill(3), 0, 512);
      const size = store.size();
      store.failWrite = store.counts.write + failWrite;
      let failed = false;
      try {
        image.resize(30 * MIB);
      } catch (error) {
        expect(error).toMatchObject({ code: 'io' });
        failed = true;
      }
      if (!failed) break;
      if (image.sizeBytes === 5 * MIB) expect(store.size(), `write ${failWrite}`).toBe(size);
      image.resize(30 * MIB);
      await image.close();
      const reopened = VhdxImage.open(store.content());
      expect(reopened.sizeBytes).toBe(30 * MIB);
      const bytes = new Uint8Array(512);
      reopened.read(0, bytes, 0, 512);
      expect(bytes[0]).toBe(3);
    }
    // A table that was written into the space of another, and in vain: the next block there is empty.
    const wide: Shape = { type: 'dynamic', sectorSize: 512, blockSize: MIB, places: [] };
    for (let failWrite = 1; failWrite < 12; failWrite++) {
      const store = new FaultStore(newDisk(wide, 100 * MIB));
      const image = VhdxImage.open(store);
      // Twenty blocks in a row, one behind them; then the twenty are free space in the middle.
      for (let block = 40; block < 60; block++) image.write(block * MIB, new Uint8Array(MIB).fill(8), 0, MIB);
      image.write(0, new Uint8Array(MIB).fill(8), 0, MIB);
      image.resize(30 * MIB);
      await image.flush();
      await image.flush();
      store.failWrite = store.counts.write + failWrite;
      try {
        image.resize(200 * GIB);
      } catch (error) {
        expect(error).toMatchObject({ code: 'io' });
      }
      store.failWrite = 0;
      for (let block = 1; block < 26; block++) {
        await image.flush();
        image.write((block + 1) * MIB - 512, new Uint8Array(512).fill(6), 0, 512);
        const bytes = new Uint8Array(MIB);
        image.read(block * MIB, bytes, 0, MIB);
        const isEmpty = bytes.subarray(0, MIB - 512).every((value) => value === 0);
        expect(isEmpty, `write ${failWrite}, block ${block}`).toBe(true);
      }
      await image.close();
      VhdxImage.open(store.content());
    }
    const full = new FaultStore(newDisk(shape, 5 * MIB));
    full.capacityBytes = full.size() + 10 * MIB;
    const image = VhdxImage.open(full);
    expect(() => image.resize(30 * MIB)).toThrow(expect.objectContaining({ code: 'no-space' }));
    expect(image.sizeBytes).toBe(5 * MIB);
    image.resize(12 * MIB);
    await image.close();
    expect(VhdxImage.open(full.content()).sizeBytes).toBe(12 * MIB);
  });
});
