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
  await createVhd(at('disk.vhdx'), { sizeBytes: 2 ** 26 });
});
afterEach(() => folder[Symbol.asyncDispose]());

const at = (name: string): string => join(folder.path, name);
const hv = (...words: string[]): Promise<Ran> => run(['vhd', ...words], { double });

it('resizes, says from what to what, and changes nothing in a dry run', async () => {
  const dry = await hv('resize', at('disk.vhdx'), '--size', '128M', '--dry-run', '--json');
  expect(JSON.parse(dry.stdout)).toMatchObject({ dryRun: true, oldSizeBytes: 2 ** 26, sizeBytes: 2 ** 27 });
  expect(JSON.parse((await hv('info', at('disk.vhdx'), '--json')).stdout)).toMatchObject({ virtualSizeBytes: 2 ** 26 });
  const ran = await hv('resize', at('disk.vhdx'), '--size', '128M');
  expect(ran).toMatchObject({ status: 0, stdout: `Resized ${at('disk.vhdx')} from 64 MiB to 128 MiB.\n` });
  const least = await hv('resize', at('disk.vhdx'), '--to-minimum', '--json');
  expect(JSON.parse(least.stdout)).toEqual({
    path: at('disk.vhdx'),
    oldSizeBytes: 2 ** 27,
    sizeBytes: 3 * 2 ** 20,
    smallestSafeSizeBytes: 0,
  });
});

it('refuses no size or two, sizes that no disk has, and a parent with children, unless forced', async () => {
  expect((await hv('resize', at('disk.vhdx'))).status).toBe(2);
  expect((await hv('resize', at('disk.vhdx'), '--size', '1G', '--to-minimum')).status).toBe(2);
  expect((await hv('resize', at('disk.vhdx'), '--size', '1M', '--unsafe')).status).toBe(2);
  expect((await hv('resize', at('none.vhdx'), '--size', '1G')).status).toBe(3);
  await createVhd(at('child.vhdx'), { parentPath: at('disk.vhdx') });
  const refused = await hv('resize', at('disk.vhdx'), '--size', '1G');
  expect(refused.status).toBe(4);
  expect(refused.stderr).toContain('child.vhdx');
  expect((await hv('resize', at('child.vhdx'), '--size', '1G')).status).toBe(0);
  expect((await hv('resize', at('disk.vhdx'), '--size', '1G', '--force')).status).toBe(0);
});

it('gives a disk another id and physical sector size', async () => {
  const id = '01234567-89ab-cdef-0123-456789abcdef';
  const ran = await hv(
    'set',
    at('disk.vhdx'),
    '--id',
    `{${id.toUpperCase()}}`,
    '--physical-sector-size',
    '512',
    '--json',
  );
  expect(JSON.parse(ran.stdout)).toMatchObject({ identifier: id, physicalSectorSizeBytes: 512 });
  const dry = await hv('set', at('disk.vhdx'), '--new-id', '--dry-run');
  expect(dry.stdout).toBe(`Would give ${at('disk.vhdx')} a new id.\n`);
  const fresh = JSON.parse((await hv('set', at('disk.vhdx'), '--new-id', '--json')).stdout);
  expect(fresh.identifier).not.toBe(id);
  expect((await hv('set', at('disk.vhdx'))).status).toBe(2);
  expect((await hv('set', at('disk.vhdx'), '--id', id, '--new-id')).status).toBe(2);
  expect((await hv('set', at('disk.vhdx'), '--id', 'x')).status).toBe(2);
  expect((await hv('set', at('disk.vhdx'), '--physical-sector-size', '1K')).status).toBe(2);
});
