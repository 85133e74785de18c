import { mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createVhd } from '../../src/disk/index.ts';
import { HostDouble } from './host-double.ts';
import { type Ran, run } from './in-process.ts';
import { temporaryFolder } from './temporary-folder.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let double: HostDouble;
beforeEach(async () => {
  folder = await temporaryFolder();
  double = new HostDouble();
  await createVhd(at('base.vhdx'), { sizeBytes: 2 ** 23 });
  await createVhd(at('child.vhdx'), { parentPath: at('base.vhdx') });
});
afterEach(() => folder[Symbol.asyncDispose]());

const at = (name: string): string => join(folder.path, name);
const hv = (...words: string[]): Promise<Ran> => run(['vhd', 'set-parent', ...words], { double });

it('links a child with its renamed parent, says where that lies, and changes nothing in a dry run', async () => {
  mkdirSync(at('elsewhere'));
  renameSync(at('base.vhdx'), at('renamed.vhdx'));
  const dry = await hv(at('child.vhdx'), at('renamed.vhdx'), '--dry-run', '--json');
  expect(JSON.parse(dry.stdout)).toMatchObject({ dryRun: true, parentPath: at('renamed.vhdx') });
  const info = await run(['vhd', 'info', at('child.vhdx'), '--json'], { double });
  expect(JSON.parse(info.stdout)).toMatchObject({ parentFound: false });
  const ran = await hv(at('child.vhdx'), at('renamed.vhdx'), '--json');
  expect(JSON.parse(ran.stdout)).toMatchObject({ parentPath: at('renamed.vhdx'), parentFound: true });
  renameSync(at('renamed.vhdx'), at('elsewhere/base.vhdx'));
  expect((await hv(at('child.vhdx'), at('elsewhere/base.vhdx'))).stdout).toBe(
    `${at('child.vhdx')} stands on ${at('elsewhere/base.vhdx')} now.\n`,
  );
});

it('refuses a parent that is something else, unless told to ignore it, and a child under snapshots, unless forced', async () => {
  await createVhd(at('other.vhdx'), { sizeBytes: 2 ** 23 });
  const refused = await hv(at('child.vhdx'), at('other.vhdx'), '--json');
  expect(refused.status).toBe(1);
  expect(JSON.parse(refused.stderr)).toMatchObject({ error: { code: 'parent-changed' } });
  const { id } = double.add({ name: 'web1', snapshotCount: 1 });
  double.diskUsers.set(at('child.vhdx'), [id]);
  expect((await hv(at('child.vhdx'), at('other.vhdx'), '--ignore-mismatch')).status).toBe(4);
  expect((await hv(at('child.vhdx'), at('other.vhdx'), '--ignore-mismatch', '--force')).status).toBe(0);
});
