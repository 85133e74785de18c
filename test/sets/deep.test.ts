import { copyFileSync, readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import {
  createVhd,
  createVhdSet,
  deleteVhdSetSnapshot,
  diskDependencies,
  forkVhd,
  mergeVhd,
  openVhd,
  optimizeVhdSet,
  setParent,
  takeVhdSetSnapshot,
  vhdSetInfo,
} from '../../src/disk/index.ts';
import { TemporaryFolder } from '../vhdx/tools.ts';

const SIZE_BYTES = 4 * 2 ** 20;

async function fill(path: string, sector: number, value: number): Promise<void> {
  const disk = await openVhd(path);
  disk.write(sector * 512, new Uint8Array(512).fill(value), 0, 512);
  await disk.close();
}

async function contentOf(path: string): Promise<Buffer> {
  const disk = await openVhd(path, { readOnly: true });
  const bytes = Buffer.alloc(SIZE_BYTES);
  disk.read(0, bytes, 0, bytes.length);
  await disk.close();
  return bytes;
}

test('a chain of 64 files is followed, forked and merged to its end', async () => {
  using folder = new TemporaryFolder();
  const at = (name: string | number): string => folder.file(`${name}.vhdx`);
  await createVhd(at(0), { sizeBytes: SIZE_BYTES, blockSizeBytes: 2 ** 20 });
  for (let index = 1; index < 64; index++) {
    await createVhd(at(index), { parentPath: at(index - 1) });
    if (index % 8 === 7) await fill(at(index), index, index);
  }
  const { chain } = await diskDependencies(at(63));
  expect(chain.map(({ path }) => path)).toEqual(Array.from({ length: 64 }, (_, index) => at(63 - index)));
  const expected = await contentOf(at(63));
  expect([7, 15, 63].map((sector) => expected[sector * 512])).toEqual([7, 15, 63]);
  await forkVhd(at(63), at('fork'), { depth: 63 });
  expect((await contentOf(at('fork'))).equals(expected)).toBe(true);
  copyFileSync(at(1), at('alone'));
  await setParent(at(1), at('alone'), { ignoreMismatch: true });
  const deep = (await diskDependencies(at(63))).chain;
  expect(deep.at(-1)).toMatchObject({ path: at('alone'), parentState: 'too-deep' });
  await setParent(at(1), at(0), { ignoreMismatch: true });
  await mergeVhd(at(63), { depth: 63 });
  expect((await contentOf(at(0))).equals(expected)).toBe(true);
  expect(readdirSync(folder.path).sort()).toEqual(['0.vhdx', 'alone.vhdx', 'fork.vhdx']);
});

test('a VHD Set is as deep as a chain may be, and no deeper', async () => {
  using folder = new TemporaryFolder();
  const set = folder.file('disk.vhds');
  await createVhdSet(set, { sizeBytes: SIZE_BYTES, blockSizeBytes: 2 ** 20 });
  for (let depth = 1; depth < 64; depth++) {
    if (depth % 8 === 7) await fill(set, depth, depth);
    await takeVhdSetSnapshot(set);
  }
  const expected = await contentOf(set);
  await expect(takeVhdSetSnapshot(set)).rejects.toMatchObject({ code: 'unsupported' });
  expect(readdirSync(folder.path).length).toBe(65);
  for (const { id } of (await vhdSetInfo(set)).snapshots.slice(20, 24)) await deleteVhdSetSnapshot(set, id);
  expect((await optimizeVhdSet(set)).allPaths.length).toBe(60);
  expect(readdirSync(folder.path).length).toBe(61);
  expect((await contentOf(set)).equals(expected)).toBe(true);
});
