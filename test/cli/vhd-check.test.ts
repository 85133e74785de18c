import { closeSync, copyFileSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createVhd, openVhd } from '../../src/disk/index.ts';
import { HostDouble } from './host-double.ts';
import { type Ran, run } from './in-process.ts';
import { temporaryFolder } from './temporary-folder.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
beforeEach(async () => {
  folder = await temporaryFolder();
  await createVhd(at('base.vhdx'), { sizeBytes: 2 ** 26 });
  await createVhd(at('child.vhdx'), { parentPath: at('base.vhdx') });
});
afterEach(() => folder[Symbol.asyncDispose]());

const at = (name: string): string => join(folder.path, name);
const check = (...words: string[]): Promise<Ran> => run(['vhd', 'check', ...words], { double: new HostDouble() });

function damage(path: string, position: number): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, Uint8Array.of(0xee), 0, 1, position);
  closeSync(fd);
}

it('ends with 0 for sound files, of a chain too, and for raw files, which have no rules', async () => {
  expect(await check(at('child.vhdx'))).toMatchObject({ status: 0, stdout: `${at('child.vhdx')} is sound.\n` });
  await createVhd(at('disk.img'), { sizeBytes: 2 ** 20 });
  expect((await check(at('disk.img'))).status).toBe(0);
  expect((await check(at('none.vhdx'))).status).toBe(3);
});

it('ends with 10 and names each finding; repairs what it can when told to, nothing in a dry run', async () => {
  damage(at('child.vhdx'), 64 * 1024 + 20);
  const ran = await check(at('child.vhdx'), '--json');
  expect(ran.status).toBe(10);
  expect(JSON.parse(ran.stdout)).toEqual({
    path: at('child.vhdx'),
    format: 'vhdx',
    isSound: false,
    findings: [
      {
        code: 'header-copy-damaged',
        severity: 'warning',
        offsetBytes: 65536,
        message: expect.any(String),
        repair: 'possible',
      },
    ],
    moreFindings: 0,
    repaired: [],
  });
  const before = readFileSync(at('child.vhdx'));
  expect((await check(at('child.vhdx'), '--repair', '--dry-run')).status).toBe(10);
  expect(readFileSync(at('child.vhdx')).equals(before)).toBe(true);
  const repaired = await check(at('child.vhdx'), '--repair');
  expect(repaired.status).toBe(0);
  expect(repaired.stdout).toMatch(/warning header-copy-damaged at 65536: .*, repaired\n.* is sound/);
  expect((await check(at('child.vhdx'))).stdout).toBe(`${at('child.vhdx')} is sound.\n`);
});

it('names what is wrong between a child and its parent', async () => {
  copyFileSync(at('base.vhdx'), at('copy.vhdx'));
  const parent = await openVhd(at('base.vhdx'));
  parent.write(0, Uint8Array.of(1), 0, 1);
  await parent.close();
  const codes = async (): Promise<string[]> =>
    JSON.parse((await check(at('child.vhdx'), '--json')).stdout).findings.map(({ code }: { code: string }) => code);
  expect(await codes()).toEqual(['parent-changed']);
  copyFileSync(at('copy.vhdx'), at('base.vhdx'));
  expect(await codes()).toEqual([]);
  damage(at('base.vhdx'), 0);
  expect(await codes()).toEqual(['parent-unreadable']);
  rmSync(at('base.vhdx'));
  expect(await codes()).toEqual(['parent-missing']);
});

it('checks a file that is refused when it is opened', async () => {
  damage(at('base.vhdx'), 3 * 2 ** 20);
  await expect(openVhd(at('base.vhdx'))).rejects.toMatchObject({ code: 'corrupt' });
  const ran = await check(at('base.vhdx'));
  expect(ran.status).toBe(10);
  expect(ran.stdout).toContain('error bat-entry-');
});
