import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { randomGuid } from '../../binary/index.ts';
import { MemoryStore } from '../../store/index.ts';
import { createVhdx } from './create.ts';
import { MIB } from './format.ts';
import { locatorPairs } from './locator.ts';
import { VhdxImage } from './vhdx-image.ts';

/** Blocks at the edges of the table's pages (512 entries), of pieces that are read at once, and of chunks. */
const EDGES = [0, 1, 510, 511, 512, 513, 2047, 2048, 2049, 4094, 4095, 4096, 131_071, 131_072, 131_073, 262_143];
const BLOCKS = 300_000;

describe('a table of many blocks', () => {
  it.each([
    ['dynamic', MIB],
    ['dynamic', 32 * MIB],
    ['differencing', 2 * MIB],
  ] as const)(
    '%s, blocks of %i bytes: segments and held blocks are exactly what was written',
    (type, blockSizeBytes) => {
      const blocks = fc.uniqueArray(fc.oneof(fc.constantFrom(...EDGES), fc.nat(BLOCKS - 1)), { maxLength: 12 });
      fc.assert(
        fc.property(blocks, fc.nat(BLOCKS - 2), fc.boolean(), (written, from, isReopened) => {
          const store = new MemoryStore();
          const locator = locatorPairs(randomGuid(), randomGuid(), {
            relativePath: '.\\p.vhdx',
            absolutePath: undefined,
          });
          createVhdx(store, {
            type,
            virtualSizeBytes: BLOCKS * blockSizeBytes,
            blockSizeBytes,
            ...(type === 'differencing' ? { locator } : {}),
          });
          let image = VhdxImage.open(store);
          for (const block of written) image.write(block * blockSizeBytes + 4096, new Uint8Array(512).fill(1), 0, 512);
          if (isReopened) {
            image.seal();
            image = VhdxImage.open(store, { readOnly: true });
          }
          const sorted = [...written].sort((a, b) => a - b);
          expect([...image.heldBlocks()].map(({ offset }) => offset / blockSizeBytes)).toEqual(sorted);

          const start = from * blockSizeBytes + 512;
          let at = start;
          const found: number[] = [];
          for (const { offset, length, kind } of image.segments(start, BLOCKS * blockSizeBytes - start)) {
            expect(offset).toBe(at);
            at += length;
            if (kind === 'data') found.push(Math.floor(offset / blockSizeBytes));
          }
          expect(at).toBe(BLOCKS * blockSizeBytes);
          // Blocks that touch each other in the file as well come as one.
          const inRange = sorted.filter((block) => block >= from);
          for (const block of found) expect(inRange).toContain(block);
          expect(new Set(found).size).toBe(found.length);
          const isFirstSeen = (block: number): boolean => found.includes(block) || inRange.includes(block - 1);
          expect(inRange.every(isFirstSeen)).toBe(true);
        }),
        { numRuns: 40 },
      );
    },
  );
});
