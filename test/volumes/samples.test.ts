import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { compactVhd, openVhd } from '../../src/disk/index.ts';
import { findVolumes } from '../../src/disk/volumes/find-volumes.ts';
import { TemporaryFolder, tool } from './tools.ts';

/** Files by Windows belong to others: they lie where HV_SAMPLES says, and nowhere in this project. */
const samples = process.env.HV_SAMPLES;
const NAME = 'dynamic-windows.vhd.gz';
const missing =
  samples === undefined ? 'HV_SAMPLES is not set' : existsSync(join(samples, NAME)) ? '' : `HV_SAMPLES has no ${NAME}`;

/** Copies a volume out of a disk. */
async function extract(diskPath: string, offset: number, sizeBytes: number, path: string): Promise<void> {
  await using disk = await openVhd(diskPath, { readOnly: true });
  const bytes = new Uint8Array(sizeBytes);
  disk.read(offset, bytes, 0, sizeBytes);
  writeFileSync(path, bytes);
}

test(`volumes that Windows made are read as other tools read them, and stay sound${missing && ` (skipped: ${missing})`}`, async (context) => {
  if (samples === undefined || missing !== '') return context.skip(missing);
  using folder = new TemporaryFolder();
  const path = folder.file('disk.vhd');
  writeFileSync(path, gunzipSync(readFileSync(join(samples, NAME))));
  const volumes = await (async () => {
    await using disk = await openVhd(path, { readOnly: true });
    return findVolumes(disk);
  })();
  const used = volumes.filter(({ state }) => state === 'clean');
  expect(used.map(({ kind }) => kind)).toEqual(expect.arrayContaining(['ntfs', 'fat32']));
  const look = async (check: (path: string, volume: (typeof used)[number]) => void): Promise<void> => {
    for (const volume of used) {
      const file = folder.file('volume.raw');
      await extract(path, volume.offset, volume.sizeBytes, file);
      check(file, volume);
    }
  };
  const sound = (file: string, { kind, freeBytes, blockSizeBytes }: (typeof used)[number]): void => {
    if (kind === 'ntfs') {
      tool('ntfsfix', ['-n', file]);
      const free = Number(/Free Clusters: (\d+)/.exec(tool('ntfsinfo', ['-m', file]))?.[1]);
      expect(freeBytes).toBe(free * (blockSizeBytes ?? 0));
    } else if (kind.startsWith('fat')) {
      // It finds a label missing, as Windows leaves it; nothing else may be wrong.
      const said = spawnSync('/usr/sbin/fsck.fat', ['-n', file], { encoding: 'utf8' }).stdout;
      expect(said.split('\n').filter((line) => line !== '')).toHaveLength(5);
      const [, taken, all] = /(\d+)\/(\d+) clusters/.exec(said) ?? [];
      expect(freeBytes).toBe((Number(all) - Number(taken)) * (blockSizeBytes ?? 0));
    }
  };
  await look(sound);
  const result = await compactVhd(path);
  expect(result.freedFileSystemBytes).toBeGreaterThan(0);
  await look(sound);
});
