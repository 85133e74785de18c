import { existsSync } from 'node:fs';
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
  await createVhd(at('a.vhdx'), { parentPath: at('base.vhdx') });
  await createVhd(at('b.vhdx'), { parentPath: at('a.vhdx') });
});
afterEach(() => folder[Symbol.asyncDispose]());

const at = (name: string): string => join(folder.path, name);
const hv = (...words: string[]): Promise<Ran> => run(['vhd', 'merge', ...words], { double });

it('merges over a depth, says first what it would do, and keeps what it is told to keep', async () => {
  const dry = await hv(at('b.vhdx'), '--depth', '2', '--dry-run');
  expect(dry.stdout).toBe(
    `Would merge ${at('b.vhdx')}, ${at('a.vhdx')} into ${at('base.vhdx')} and remove ${at('b.vhdx')}, ${at('a.vhdx')}.\n`,
  );
  expect(JSON.parse((await hv(at('b.vhdx'), '--keep', '--json')).stdout)).toEqual({
    path: at('a.vhdx'),
    mergedPaths: [at('b.vhdx')],
    removedPaths: [],
    relinkedPaths: [],
  });
  const ran = await hv(at('b.vhdx'), '--depth', '2');
  expect(ran.stdout).toBe(
    `Merged ${at('b.vhdx')}, ${at('a.vhdx')} into ${at('base.vhdx')}; removed ${at('b.vhdx')}, ${at('a.vhdx')}.\n`,
  );
  expect(existsSync(at('a.vhdx')) || existsSync(at('b.vhdx'))).toBe(false);
});

it('refuses what is no depth, what has no parent, and what others stand on', async () => {
  expect((await hv(at('b.vhdx'), '--depth', 'x')).status).toBe(2);
  expect((await hv(at('b.vhdx'), '--depth', '3')).status).toBe(2);
  expect((await hv(at('base.vhdx'))).status).toBe(4);
  await createVhd(at('branch.vhdx'), { parentPath: at('a.vhdx') });
  const refused = await hv(at('b.vhdx'), '--json');
  expect(refused.status).toBe(4);
  expect(JSON.parse(refused.stderr)).toMatchObject({ error: { code: 'in-use' } });
  expect((await hv(at('b.vhdx'), '--force')).status).toBe(0);
});
