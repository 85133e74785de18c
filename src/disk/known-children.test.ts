import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createVhd, openChain } from './index.ts';
import { knownChildren } from './known-children.ts';

const MIB = 1024 * 1024;

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hv-children-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const at = (name: string): string => join(folder, name);

test('the children of a file are those of its folder that name it, and no others', async () => {
  await createVhd(at('base.vhdx'), { sizeBytes: 8 * MIB });
  await createVhd(at('other.vhdx'), { sizeBytes: 8 * MIB });
  expect(await knownChildren(at('base.vhdx'))).toEqual({ paths: [], isComplete: true });
  await createVhd(at('b.avhdx'), { parentPath: at('base.vhdx') });
  await createVhd(at('a.vhdx'), { parentPath: at('base.vhdx') });
  await createVhd(at('grandchild.vhdx'), { parentPath: at('a.vhdx') });
  await createVhd(at('stranger.vhdx'), { parentPath: at('other.vhdx') });
  const both = { paths: [at('a.vhdx'), at('b.avhdx')], isComplete: true };
  expect(await knownChildren(at('base.vhdx'))).toEqual(both);
  symlinkSync(at('base.vhdx'), at('link.vhdx'));
  symlinkSync(at('a.vhdx'), at('link-to-a.vhdx'));
  expect(await knownChildren(at('link.vhdx'))).toEqual(both);
  expect((await knownChildren(at('a.vhdx'))).paths).toEqual([at('grandchild.vhdx')]);
});

test('a child is known while another opens and writes it', async () => {
  await createVhd(at('base.vhdx'), { sizeBytes: 8 * MIB });
  await createVhd(at('child.vhdx'), { parentPath: at('base.vhdx') });
  const disk = openChain(at('child.vhdx'));
  disk.write(0, new Uint8Array(4096).fill(1), 0, 4096);
  expect((await knownChildren(at('base.vhdx'))).paths).toEqual([at('child.vhdx')]);
  await disk.close();
});

test('neighbours that are no disks, broken, or no files hide no child', async () => {
  await createVhd(at('base.vhdx'), { sizeBytes: 8 * MIB });
  await createVhd(at('child.vhdx'), { parentPath: at('base.vhdx') });
  writeFileSync(at('a.vhdx'), 'text');
  writeFileSync(at('empty.avhdx'), '');
  mkdirSync(at('folder.vhdx'));
  symlinkSync('/dev/zero', at('device.vhdx'));
  symlinkSync(at('nowhere'), at('loose.vhdx'));
  copyFileSync(at('child.vhdx'), at('cut.vhdx'));
  truncateSync(at('cut.vhdx'), 200 * 1024);
  expect(await knownChildren(at('base.vhdx'))).toEqual({ paths: [at('child.vhdx')], isComplete: true });
});

test('a folder with more files than may be looked at has its answer cut short, and says so', async () => {
  await createVhd(at('base.vhdx'), { sizeBytes: 8 * MIB });
  await createVhd(at('child.vhdx'), { parentPath: at('base.vhdx') });
  expect((await knownChildren(at('base.vhdx'), { maxFiles: 1 })).isComplete).toBe(false);
  expect(await knownChildren(at('base.vhdx'), { timeLimitMs: -1 })).toEqual({ paths: [], isComplete: false });
  await expect(knownChildren(at('base.vhdx'), { signal: AbortSignal.abort() })).rejects.toMatchObject({
    code: 'aborted',
  });
  await expect(knownChildren(at('gone.vhdx'))).rejects.toMatchObject({ code: 'not-found' });
});
