import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createVhd } from '../../src/disk/index.ts';
import { HostDouble } from './host-double.ts';
import { type Ran, run } from './in-process.ts';
import { temporaryFolder } from './temporary-folder.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
const double = new HostDouble();
beforeEach(async () => {
  folder = await temporaryFolder();
});
afterEach(() => folder[Symbol.asyncDispose]());

const hv = (...words: string[]): Promise<Ran> => run(['vhd', ...words], { double });
const at = (name: string): string => join(folder.path, name);

it('refuses to mirror a disk that no machine has, and says what to do instead', async () => {
  await createVhd(at('disk.vhdx'), { sizeBytes: 2 ** 24 });
  for (const words of [
    ['mirror', at('disk.vhdx'), at('copy.vhdx')],
    ['break-mirror', at('disk.vhdx')],
  ]) {
    const { status, stderr } = await hv(...words);
    expect(status).toBe(4);
    expect(stderr).toMatch(/no disk of a machine/);
    expect(stderr).toMatch(/hv vhd convert/);
  }
});

it('says what it would do, and asks for both files', async () => {
  const dry = JSON.parse((await hv('mirror', at('a.vhdx'), at('b.vhdx'), '--dry-run', '--json')).stdout);
  expect(dry).toMatchObject({ path: at('a.vhdx'), mirrorPath: at('b.vhdx') });
  expect((await hv('mirror', at('a.vhdx'))).status).toBe(2);
  const broken = JSON.parse((await hv('break-mirror', at('a.vhdx'), '--switch', '--dry-run', '--json')).stdout);
  expect(broken).toMatchObject({ path: at('a.vhdx'), switch: true });
  expect((await hv('mirror', '--help')).stdout).toMatch(/vhd mirror web1\.vhdx/);
});
