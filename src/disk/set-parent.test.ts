import { copyFileSync, linkSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createVhd, openChain, setParent, vhdInfo } from './index.ts';

const MIB = 1024 * 1024;

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hv-parent-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const at = (name: string): string => join(folder, name);

async function write(path: string, value: number): Promise<void> {
  const disk = openChain(path);
  disk.write(0, new Uint8Array(512).fill(value), 0, 512);
  await disk.close();
}

async function firstByte(path: string): Promise<number | undefined> {
  const disk = openChain(path, { readOnly: true });
  const bytes = new Uint8Array(512);
  disk.read(0, bytes, 0, 512);
  await disk.close();
  return bytes[0];
}

test('a child finds its parent again after that was renamed, and only what it was made from is taken for it', async () => {
  await createVhd(at('p.vhdx'), { sizeBytes: 8 * MIB });
  await write(at('p.vhdx'), 7);
  await createVhd(at('other.vhdx'), { sizeBytes: 8 * MIB });
  await createVhd(at('c.vhdx'), { parentPath: at('p.vhdx') });
  renameSync(at('p.vhdx'), at('renamed.vhdx'));
  await expect(firstByte(at('c.vhdx'))).rejects.toMatchObject({ code: 'not-found' });
  const before = readFileSync(at('c.vhdx'));
  await expect(setParent(at('c.vhdx'), at('other.vhdx'))).rejects.toMatchObject({ code: 'parent-changed' });
  await setParent(at('c.vhdx'), at('renamed.vhdx'), { dryRun: true });
  expect(readFileSync(at('c.vhdx')).equals(before)).toBe(true);
  await setParent(at('c.vhdx'), at('renamed.vhdx'));
  expect(await firstByte(at('c.vhdx'))).toBe(7);
  // Both paths are new: alone, the child knows where its parent lies; together, they may move.
  expect(await vhdInfo(at('c.vhdx'))).toMatchObject({ parentPath: at('renamed.vhdx'), parentFound: true });
  mkdirSync(at('moved'));
  renameSync(at('c.vhdx'), at('moved/c.vhdx'));
  expect(await vhdInfo(at('moved/c.vhdx'))).toMatchObject({ parentPath: at('renamed.vhdx'), parentFound: false });
  renameSync(at('renamed.vhdx'), at('moved/renamed.vhdx'));
  expect(await firstByte(at('moved/c.vhdx'))).toBe(7);
});

test('a parent that does not fit is refused even where its identity is not asked for', async () => {
  await createVhd(at('p.vhdx'), { sizeBytes: 8 * MIB });
  await createVhd(at('c.vhdx'), { parentPath: at('p.vhdx') });
  await createVhd(at('large.vhdx'), { sizeBytes: 16 * MIB });
  await createVhd(at('4k.vhdx'), { sizeBytes: 8 * MIB, logicalSectorSizeBytes: 4096 });
  await createVhd(at('raw.img'), { sizeBytes: 8 * MIB });
  const ignoreMismatch = true;
  for (const [parent, code] of [
    ['large.vhdx', 'invalid-argument'],
    ['4k.vhdx', 'invalid-argument'],
    ['raw.img', 'corrupt'],
    ['gone.vhdx', 'not-found'],
  ] as const) {
    await expect(setParent(at('c.vhdx'), at(parent), { ignoreMismatch })).rejects.toMatchObject({ code });
  }
  await expect(setParent(at('large.vhdx'), at('p.vhdx'), { ignoreMismatch })).rejects.toMatchObject({
    code: 'invalid-state',
  });
});

test('a disk never becomes its own ancestor, whatever name it is given', async () => {
  await createVhd(at('p.vhdx'), { sizeBytes: 8 * MIB });
  await createVhd(at('a.vhdx'), { parentPath: at('p.vhdx') });
  await createVhd(at('b.vhdx'), { parentPath: at('a.vhdx') });
  await createVhd(at('c.vhdx'), { parentPath: at('b.vhdx') });
  symlinkSync(at('a.vhdx'), at('link.vhdx'));
  linkSync(at('a.vhdx'), at('hard.vhdx'));
  for (const parent of ['a.vhdx', 'link.vhdx', 'hard.vhdx', 'b.vhdx', 'c.vhdx']) {
    await expect(setParent(at('a.vhdx'), at(parent), { ignoreMismatch: true })).rejects.toMatchObject({
      code: 'invalid-argument',
    });
  }
});

test('a link to a file outside, put there as a parent, is not followed without leave', async () => {
  await createVhd(at('p.vhdx'), { sizeBytes: 8 * MIB });
  await createVhd(at('c.vhdx'), { parentPath: at('p.vhdx') });
  await createVhd(at('d.vhdx'), { parentPath: at('c.vhdx') });
  rmSync(at('p.vhdx'));
  symlinkSync('/etc/shadow', at('p.vhdx'));
  // What lies above the parent is looked at for a loop, and a file outside is not opened even for that.
  await setParent(at('d.vhdx'), at('c.vhdx'));
  await expect(firstByte(at('d.vhdx'))).rejects.toMatchObject({ code: 'permission-denied' });
});

test('files in use are left alone', async () => {
  await createVhd(at('p.vhdx'), { sizeBytes: 8 * MIB });
  await createVhd(at('c.vhdx'), { parentPath: at('p.vhdx') });
  copyFileSync(at('p.vhdx'), at('q.vhdx'));
  const disk = openChain(at('c.vhdx'));
  await expect(setParent(at('c.vhdx'), at('q.vhdx'))).rejects.toMatchObject({ code: 'in-use' });
  await disk.close();
  await setParent(at('c.vhdx'), at('q.vhdx'));
  await expect(setParent(at('c.vhdx'), at('p.vhdx'), { signal: AbortSignal.abort() })).rejects.toMatchObject({
    code: 'aborted',
  });
});
