import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openChain } from '../../src/disk/index.ts';
import { HostDouble } from './host-double.ts';
import { type Ran, run } from './in-process.ts';
import { temporaryFolder } from './temporary-folder.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let double: HostDouble;
beforeEach(async () => {
  folder = await temporaryFolder();
  double = new HostDouble();
});
afterEach(() => folder[Symbol.asyncDispose]());

const at = (name: string): string => join(folder.path, name);
const hv = (...words: string[]): Promise<Ran> => run(['vhd', ...words], { double });
const info = async (...words: string[]): Promise<unknown> => JSON.parse((await hv('info', ...words, '--json')).stdout);

it('makes VHD files of every type by their ending, and by what is said', async () => {
  expect(await hv('create', at('a.vhd'), '--size', '10G')).toMatchObject({
    status: 0,
    stdout: `Made ${at('a.vhd')}: dynamic vhd, 10 GiB.\n`,
  });
  expect(await info(at('a.vhd'))).toMatchObject({
    format: 'vhd',
    type: 'dynamic',
    blockSizeBytes: 2 ** 21,
    physicalSectorSizeBytes: 512,
  });
  expect((await hv('create', at('f.vhd'), '--size', '4M', '--type', 'fixed')).status).toBe(0);
  expect(await info(at('f.vhd'))).toMatchObject({
    type: 'fixed',
    blockSizeBytes: null,
    fileSizeBytes: 4 * 2 ** 20 + 512,
  });
  expect((await hv('create', at('c.avhd'), '--type', 'differencing', '--parent', at('a.vhd'))).status).toBe(0);
  expect(await info(at('c.avhd'))).toMatchObject({ type: 'differencing', parentPath: at('a.vhd'), parentFound: true });
  expect((await hv('create', at('old'), '--format', 'vhd', '--size', '1G', '--block-size', '512K')).status).toBe(0);
  expect(await info(at('old'), '--format', 'vhd')).toMatchObject({ format: 'vhd', blockSizeBytes: 2 ** 19 });
});

it('says before it makes anything what a VHD cannot be', async () => {
  await hv('create', at('a.vhd'), '--size', '1G');
  for (const [words, status, said] of [
    [['x.vhd', '--size', '3T'], 2, '2040 GiB'],
    [['x.vhd', '--size', '1G', '--block-size', '32M'], 2, '512 KiB or 2 MiB'],
    [['x.vhd', '--size', '2G', '--type', 'differencing', '--parent', at('a.vhd')], 2, "its parent's size"],
    [['x.vhdx', '--type', 'differencing', '--parent', at('a.vhd')], 5, 'both be VHDX files, or both VHD'],
  ] as const) {
    const [name, ...rest] = words;
    for (const dryRun of [[], ['--dry-run']]) {
      const ran = await hv('create', at(name), ...rest, ...dryRun);
      expect(ran.status).toBe(status);
      expect(ran.stderr).toContain(said);
    }
  }
  expect((await hv('info', at('x.vhd'))).status).toBe(3);
});

it('checks, repairs and merges them', async () => {
  await hv('create', at('a.vhd'), '--size', '64M');
  await hv('create', at('c.vhd'), '--type', 'differencing', '--parent', at('a.vhd'));
  const child = openChain(at('c.vhd'));
  child.write(512, new Uint8Array(512).fill(8), 0, 512);
  await child.close();
  truncateSync(at('a.vhd'), 2048);
  const found = await hv('check', at('a.vhd'));
  expect(found.status).toBe(10);
  expect(found.stdout).toContain('footer-damaged');
  expect((await hv('check', at('a.vhd'), '--repair', '--force')).status).toBe(0);
  expect((await hv('check', at('c.vhd'))).status).toBe(0);
  expect((await hv('merge', at('c.vhd'))).status).toBe(0);
  const merged = openChain(at('a.vhd'), { readOnly: true });
  const bytes = new Uint8Array(512);
  merged.read(512, bytes, 0, 512);
  await merged.close();
  expect(bytes.every((byte) => byte === 8)).toBe(true);
});
