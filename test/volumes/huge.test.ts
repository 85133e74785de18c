import { performance } from 'node:perf_hooks';
import { describe, expect, test } from 'vitest';
import { compactVhd, createVhd, openVhd, smallestSafeSize, vhdInfo } from '../../src/disk/index.ts';
import { MIB, TemporaryFolder } from './tools.ts';

const TIB = 2 ** 40;
const SIZE_BYTES = 64 * TIB;

/** The most memory that this process ever had, in bytes. */
function peakBytes(): number {
  return process.resourceUsage().maxRSS * 1024;
}

describe('a dynamic VHDX of 64 TiB is no burden', () => {
  test.each([
    ['as it comes', undefined, 3, 48],
    ['in blocks of 2 MiB', 2 * MIB, 10, 96],
    ['in blocks of 1 MiB', MIB, 15, 96],
  ] as const)(
    '%s: created, written at both ends, mapped, compacted',
    async (_title, blockSizeBytes, seconds, megabytes) => {
      using folder = new TemporaryFolder();
      const path = folder.file('huge.vhdx');
      const before = peakBytes();
      const started = performance.now();
      const took: Record<string, number> = {};
      const timed = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
        const start = performance.now();
        const result = await work();
        took[name] = Math.round(performance.now() - start);
        return result;
      };
      await timed('create', () => createVhd(path, { sizeBytes: SIZE_BYTES, blockSizeBytes }));
      const block = (await vhdInfo(path)).blockSizeBytes ?? 0;
      const last = SIZE_BYTES - 4096;
      await timed('write', async () => {
        await using disk = await openVhd(path);
        for (const offset of [0, 32 * TIB, last]) disk.write(offset, new Uint8Array(4096).fill(7), 0, 4096);
        // Zeros that hold space, in the middle of it all.
        disk.write(32 * TIB, new Uint8Array(4096), 0, 4096);
      });
      const extents = await timed('map', async () => {
        await using disk = await openVhd(path, { readOnly: true });
        return [...disk.extents(0, SIZE_BYTES)];
      });
      expect(extents.map(({ offset, length, kind }) => [offset, length, kind])).toEqual([
        [0, block, 'data'],
        [block, 32 * TIB - block, 'hole'],
        [32 * TIB, block, 'data'],
        [32 * TIB + block, 32 * TIB - 2 * block, 'hole'],
        [SIZE_BYTES - block, block, 'data'],
      ]);
      const result = await timed('compact', () => compactVhd(path));
      expect(result).toMatchObject({ freedZeroBytes: block, freedFileSystemBytes: 0 });
      expect(result.fileSizeBytesBefore - result.fileSizeBytesAfter).toBe(block);
      await timed('smallest', async () => {
        await using disk = await openVhd(path, { readOnly: true });
        const end = new Uint8Array(4096);
        disk.read(last, end, 0, 4096);
        expect(end.every((byte) => byte === 7)).toBe(true);
        expect(smallestSafeSize(disk)).toBe(SIZE_BYTES);
      });
      const all = (performance.now() - started) / 1000;
      if (process.env.HV_SHOW_TIMES) console.log(took, all, (peakBytes() - before) / MIB);
      expect(all).toBeLessThan(seconds);
      expect((peakBytes() - before) / MIB).toBeLessThan(megabytes);
    },
  );
});
