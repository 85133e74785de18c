import { describe, expect, test } from 'vitest';
import type { DiskImage, DiskType } from '../../src/formats/disk-image.ts';
import { createVhdImage, VhdImage } from '../../src/formats/vhd/index.ts';
import { MemoryStore } from '../../src/store/index.ts';
import { seededRandom } from '../../src/store/testing/fault-store.ts';
import { contentOf, KIB, MIB, operate } from './model.ts';

/** Not a multiple of the block size, so that the last block is cut off. */
const SIZE_BYTES = 11 * MIB + 512;

function newDisk(type: DiskType, blockSizeBytes: number | undefined, parent?: VhdImage): MemoryStore {
  const store = new MemoryStore();
  createVhdImage(store, {
    type,
    virtualSizeBytes: SIZE_BYTES,
    blockSizeBytes,
    ...(parent
      ? {
          parent: {
            uniqueId: parent.contentId,
            timestamp: 1,
            name: 'p.vhd',
            paths: { relativePath: '.\\p.vhd', absolutePath: undefined },
          },
        }
      : {}),
  });
  return store;
}

function coverOf(image: DiskImage): void {
  let at = 0;
  for (const { offset, length } of image.segments(0, image.sizeBytes)) {
    expect(offset).toBe(at);
    at += length;
  }
  expect(at).toBe(image.sizeBytes);
}

/** What the segments say is what reading says. */
function expectSegments(image: DiskImage, expected: Uint8Array): void {
  coverOf(image);
  const bytes = Buffer.alloc(SIZE_BYTES, 0xaa);
  for (const { offset, length, kind, store, fileOffset } of image.segments(0, image.sizeBytes)) {
    if (kind === 'data') store?.read(fileOffset, bytes, offset, length);
    else bytes.fill(0, offset, offset + length);
  }
  expect(Buffer.compare(bytes, expected)).toBe(0);
}

describe('random operations against a plain array', () => {
  for (const [type, blockSizeBytes] of [
    ['fixed', undefined],
    ['dynamic', 2 * MIB],
    ['dynamic', 512 * KIB],
  ] as const) {
    for (let seed = 1; seed <= 3; seed++) {
      test(`a ${type} disk${blockSizeBytes === undefined ? '' : ` with blocks of ${blockSizeBytes / KIB} KiB`}, seed ${seed}`, async () => {
        const store = newDisk(type, blockSizeBytes);
        const expected = new Uint8Array(SIZE_BYTES);
        const random = seededRandom(seed);
        let image = VhdImage.open(store);
        for (let round = 0; round < 250; round++) {
          await operate(image, expected, random);
          if (random() < 0.03) {
            if (random() < 0.6) await image.close();
            image = VhdImage.open(store);
          }
        }
        expectSegments(image, expected);
        await image.close();
        expect(contentOf(VhdImage.open(store, { readOnly: true })).equals(expected)).toBe(true);
      });
    }
  }

  for (let seed = 11; seed <= 14; seed++) {
    test(`a chain of three, seed ${seed}`, async () => {
      const random = seededRandom(seed);
      const expected = new Uint8Array(SIZE_BYTES);
      const stores: MemoryStore[] = [];
      let image: VhdImage | undefined;
      for (let depth = 0; depth < 3; depth++) {
        const blockSizeBytes = random() < 0.5 ? 512 * KIB : 2 * MIB;
        const store = newDisk(depth === 0 ? 'dynamic' : 'differencing', blockSizeBytes, image);
        stores.push(store);
        const open = (): VhdImage => {
          let below: VhdImage | undefined;
          for (const [index, layer] of stores.entries()) {
            const opened = VhdImage.open(layer, { readOnly: index !== stores.length - 1 });
            if (below) opened.setParent(below);
            below = opened;
          }
          return below as VhdImage; // there is one layer at least
        };
        image = open();
        expect(contentOf(image).equals(expected)).toBe(true);
        for (let round = 0; round < 120; round++) {
          await operate(image, expected, random);
          if (random() < 0.03) {
            if (random() < 0.6) await image.close();
            image = open();
          }
        }
        expectSegments(image, expected);
        await image.close();
      }
    });
  }
});
