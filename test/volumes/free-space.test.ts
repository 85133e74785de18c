import { describe, expect, test } from 'vitest';
import { openVhd } from '../../src/disk/index.ts';
import { findVolumes, type Volume } from '../../src/disk/volumes/find-volumes.ts';
import { EXT_KINDS, extFreeBlocks, KINDS, makeVolume, NTFS_KINDS } from './file-systems.ts';
import { sparseFile, TemporaryFolder, tool, toolBytes } from './tools.ts';

async function look<T>(path: string, use: (volumes: Volume[]) => T): Promise<T> {
  await using disk = await openVhd(path, { format: 'raw', readOnly: true });
  return use(findVolumes(disk));
}

describe('free space of file systems as other tools see it', () => {
  test.each(KINDS)('$title', async (kind) => {
    using folder = new TemporaryFolder();
    const path = folder.file('volume.raw');
    makeVolume(kind, path);
    kind.check(path);
    await look(path, ([volume, ...others]) => {
      expect(others).toEqual([]);
      expect(volume).toMatchObject({ offset: 0, sizeBytes: kind.sizeBytes, kind: kind.kind, state: 'clean', why: '' });
      const unit = volume?.blockSizeBytes ?? 0;
      expect(volume?.freeBytes).toBe(kind.freeUnits(path) * unit);
      expect(volume?.freeBytes).toBeGreaterThan(kind.sizeBytes / 3);
    });
  });

  test.each(EXT_KINDS)('$title, block for block', async (kind) => {
    using folder = new TemporaryFolder();
    const path = folder.file('volume.raw');
    makeVolume(kind, path);
    await look(path, ([volume]) => {
      const unit = volume?.blockSizeBytes ?? 1;
      const found = [...(volume?.freeRanges() ?? [])].map(({ offset, length }) => [
        offset / unit,
        (offset + length) / unit - 1,
      ]);
      expect(found).toEqual(extFreeBlocks(path));
    });
  });

  test.each(NTFS_KINDS)('$title, cluster for cluster', async (kind) => {
    using folder = new TemporaryFolder();
    const path = folder.file('volume.raw');
    makeVolume(kind, path);
    const bitmap = toolBytes('ntfscat', [path, '$Bitmap']);
    await look(path, ([volume]) => {
      const unit = volume?.blockSizeBytes ?? 1;
      const clusters = Math.floor((kind.sizeBytes - 512) / unit);
      const isFree = new Uint8Array(clusters);
      for (const { offset, length } of volume?.freeRanges() ?? []) {
        isFree.fill(1, offset / unit, (offset + length) / unit);
      }
      const expected = Uint8Array.from({ length: clusters }, (_none, index) =>
        ((bitmap[index >> 3] ?? 0) >> (index & 7)) & 1 ? 0 : 1,
      );
      expect(Buffer.compare(isFree, expected)).toBe(0);
    });
  });

  test('some of these volumes have groups whose bitmap was never written', () => {
    using folder = new TemporaryFolder();
    const counts = EXT_KINDS.map((kind, index) => {
      const path = folder.file(`volume${index}.raw`);
      sparseFile(path, kind.sizeBytes);
      kind.format(path);
      return [...tool('dumpe2fs', [path]).matchAll(/BLOCK_UNINIT/g)].length;
    });
    expect(counts.filter((count) => count > 0).length).toBeGreaterThan(3);
  });

  test('exFAT', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('volume.raw');
    sparseFile(path, 64 * 1024 * 1024);
    tool('mkfs.exfat', [path]);
    const said = tool('dump.exfat', [path]);
    const number = (name: RegExp): number => Number(name.exec(said)?.[1]);
    await look(path, ([volume]) => {
      expect(volume).toMatchObject({ kind: 'exfat', state: 'clean' });
      const unit = volume?.blockSizeBytes ?? 1;
      expect(unit).toBe(number(/Cluster [Ss]ize:?\s+(\d+)/));
      expect(volume?.freeBytes).toBe(number(/Free [Cc]lusters:?\s+(\d+)/) * unit);
    });
  });
});
