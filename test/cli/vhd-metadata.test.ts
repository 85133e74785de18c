import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createVhd } from '../../src/disk/index.ts';
import { HostDouble } from './host-double.ts';
import { type Ran, run } from './in-process.ts';
import { temporaryFolder } from './temporary-folder.ts';

const ID = '01234567-89ab-cdef-0123-456789abcdef';
const OTHER = 'fedcba98-7654-3210-fedc-ba9876543210';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
beforeEach(async () => {
  folder = await temporaryFolder();
  await createVhd(at('disk.vhdx'), { sizeBytes: 2 ** 26 });
});
afterEach(() => folder[Symbol.asyncDispose]());

const at = (name: string): string => join(folder.path, name);
const hv = (verb: string, ...words: string[]): Promise<Ran> =>
  run(['vhd', 'metadata', verb, at('disk.vhdx'), ...words], { double: new HostDouble() });

it('sets text, bytes and files, lists them and gives them back', async () => {
  expect((await hv('list')).stdout).toBe('');
  expect((await hv('set', ID, '--value', 'Grüße', '--dry-run')).stdout).toContain('Would set');
  expect(JSON.parse((await hv('list', '--json')).stdout)).toEqual([]);
  expect((await hv('set', ID, '--value', 'Grüße')).status).toBe(0);
  writeFileSync(at('item'), new Uint8Array(1000).fill(200));
  expect((await hv('set', OTHER, '--file', at('item'))).status).toBe(0);
  expect(JSON.parse((await hv('list', '--json')).stdout)).toEqual([
    { id: ID, lengthBytes: 7 },
    { id: OTHER, lengthBytes: 1000 },
  ]);
  expect((await hv('get', ID)).stdout).toBe('Grüße');
  expect(JSON.parse((await hv('get', ID, '--json')).stdout)).toMatchObject({ text: 'Grüße', lengthBytes: 7 });
  expect(JSON.parse((await hv('get', OTHER, '--json')).stdout)).toMatchObject({ text: null });
  expect((await hv('get', OTHER, '--output', at('out'))).status).toBe(0);
  expect(readFileSync(at('out'))).toEqual(readFileSync(at('item')));
  expect((await hv('get', OTHER, '--output', at('out'))).status).toBe(4);
  expect((await hv('set', OTHER, '--hex', 'de ad:BE ef')).status).toBe(0);
  expect(JSON.parse((await hv('get', OTHER, '--json')).stdout)).toMatchObject({ base64: '3q2+7w==' });
  expect((await hv('delete', ID, '--dry-run')).status).toBe(0);
  expect((await hv('delete', ID)).status).toBe(0);
  expect((await hv('delete', ID)).status).toBe(3);
  expect((await hv('get', ID)).status).toBe(3);
});

it('refuses what is no item, and a disk whose children would not know it any more', async () => {
  expect((await hv('set', 'name', '--value', 'x')).status).toBe(2);
  expect((await hv('set', ID)).status).toBe(2);
  expect((await hv('set', ID, '--hex', 'abc')).status).toBe(2);
  expect((await hv('set', ID, '--value', 'x', '--hex', '00')).status).toBe(2);
  writeFileSync(at('big'), new Uint8Array(2 ** 20 + 1));
  expect((await hv('set', ID, '--file', at('big'))).status).toBe(2);
  expect((await hv('set', ID, '--file', at('none'))).status).toBe(3);
  await createVhd(at('child.vhdx'), { parentPath: at('disk.vhdx') });
  expect((await hv('set', ID, '--value', 'x')).status).toBe(4);
  expect((await hv('set', ID, '--value', 'x', '--force')).status).toBe(0);
  const raw = await run(['vhd', 'metadata', 'list', at('disk.img')], { double: new HostDouble() });
  expect(raw.status).toBe(5);
});
