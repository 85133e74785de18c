import { mkdirSync, readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createVhd, type VhdSetInfo } from '../../src/disk/index.ts';
import { HostDouble } from './host-double.ts';
import { type Ran, run } from './in-process.ts';
import { temporaryFolder } from './temporary-folder.ts';

const ID = '5344a6ca-b8f3-4596-9001-86b58b1364db';
const OTHER = '0f9a1c64-7b8e-4a39-9a3e-2f1f3d9be0aa';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let double: HostDouble;
let set: string;
beforeEach(async () => {
  folder = await temporaryFolder();
  double = new HostDouble();
  set = at('data.vhds');
});
afterEach(() => folder[Symbol.asyncDispose]());

const at = (name: string): string => join(folder.path, name);
const hv = (...words: string[]): Promise<Ran> => run(['vhdset', ...words], { double });
const json = async (...words: string[]): Promise<VhdSetInfo & { readonly would?: string }> => {
  const ran = await hv(...words, '--json');
  expect(ran.stderr).toBe('');
  return JSON.parse(ran.stdout) as VhdSetInfo;
};

it('leads a set through its life', async () => {
  const made = await json('create', set, '--size', '64M');
  expect(made.allPaths).toEqual([made.leafPath]);
  expect((await hv('create', set, '--size', '64M')).status).toBe(4);
  expect((await json('snapshot', set, '--dry-run')).would).toContain(made.leafPath);
  expect((await hv('snapshot', set, '--id', ID)).stdout).toBe(`Took the snapshot ${ID}.\n`);
  expect((await json('info', set)).snapshots).toMatchObject([{ id: ID, path: made.leafPath, parentPaths: [] }]);
  expect((await json('apply', set, ID, '--keep-as', OTHER)).snapshots.map(({ id }) => id)).toEqual([ID, OTHER]);
  expect((await hv('apply', set, ID, '--dry-run')).stdout).toMatch(/^Would apply .* and discard /);
  expect((await json('apply', set, OTHER, '--writeable')).snapshots.map(({ id }) => id)).toEqual([ID]);
  mkdirSync(at('snapshots'));
  renameSync(made.leafPath, at('snapshots/a.avhdx'));
  const moved = await json('modify', set, '--snapshot', ID, '--path', at('snapshots/a.avhdx'));
  expect(moved.snapshots[0]?.path).toBe(at('snapshots/a.avhdx'));
  expect((await json('modify', set, '--new-files', at('snapshots'))).defaultPath).toBe(at('snapshots'));
  expect((await hv('modify', set, '--forget')).status).toBe(2);
  expect((await hv('delete', set, ID)).stdout).toBe(`Deleted the snapshot ${ID}.\n`);
  expect((await json('optimize', set, '--dry-run')).would).toBe('merge away 1 file');
  expect((await hv('optimize', set)).stdout).toBe('Merged away 1 file.\n');
  const { stdout } = await hv('info', set);
  expect(stdout).toContain(`Snapshots:  none`);
  expect(readdirSync(folder.path).sort()).toEqual(['data.vhds', 'snapshots']);
});

it('makes every check in a dry run, and changes nothing', async () => {
  expect((await hv('create', set, '--size', '1000', '--dry-run')).status).toBe(2);
  expect((await hv('create', set, '--size', '64M', '--dry-run')).stdout).toContain('Would make the VHD Set');
  expect(readdirSync(folder.path)).toEqual([]);
  await json('create', set, '--size', '64M');
  expect((await hv('create', set, '--size', '64M', '--dry-run')).status).toBe(4);
  await json('snapshot', set, '--id', ID);
  const files = readdirSync(folder.path).sort();
  const info = await json('info', set);
  for (const words of [
    ['snapshot', set, '--id', ID],
    ['apply', set, OTHER],
    ['apply', set, ID, '--writeable'],
    ['apply', set, ID, '--keep-as', ID],
    ['delete', set, OTHER],
    ['modify', set, '--snapshot', OTHER, '--forget'],
    ['modify', set, '--new-files', at('nowhere')],
  ]) {
    const [dry, real] = [await hv(...words, '--dry-run', '--json'), await hv(...words, '--json')];
    expect([words, dry.status, dry.stderr]).toEqual([words, real.status, real.stderr]);
    expect(dry.status).not.toBe(0);
  }
  for (const words of [
    ['snapshot', set, '--writeable'],
    ['apply', set, ID, '--keep-as', OTHER],
    ['delete', set, ID],
    ['modify', set, '--snapshot', ID, '--forget'],
    ['optimize', set],
  ]) {
    expect((await hv(...words, '--dry-run')).stdout).toMatch(/^Would /);
  }
  expect(readdirSync(folder.path).sort()).toEqual(files);
  expect(await json('info', set)).toEqual(info);
});

it('refuses what belongs to a machine, unless forced, and what is no set', async () => {
  await createVhd(at('base.vhdx'), { sizeBytes: 2 ** 23 });
  await json('create', set, '--from', at('base.vhdx'));
  const { id } = double.add({ name: 'web1', state: 'Saved' });
  double.diskUsers.set(at('base.vhdx'), [id]);
  expect((await hv('snapshot', set)).status).toBe(4);
  expect((await hv('snapshot', set, '--force')).status).toBe(0);
  expect((await hv('info', at('base.vhdx'))).status).toBe(5);
  expect((await hv('info', at('gone.vhds'))).status).toBe(3);
  double.diskUsers.clear();
  expect((await hv('apply', set, ID)).status).toBe(3);
});
