import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createVhd, openVhd, vhdInfo } from '../../src/disk/index.ts';
import { HostDouble } from './host-double.ts';
import { type Ran, run } from './in-process.ts';
import { temporaryFolder } from './temporary-folder.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let double: HostDouble;
beforeEach(async () => {
  folder = await temporaryFolder();
  double = new HostDouble();
  await createVhd(at('d.vhdx'), { sizeBytes: 2 ** 26 });
});
afterEach(() => folder[Symbol.asyncDispose]());

const at = (name: string): string => join(folder.path, name);
const scsi = (...words: string[]): Promise<Ran> => run(['vhd', 'scsi', ...words], { double });

it('shows what the disk answers, for people and as JSON', async () => {
  const shown = await scsi(at('d.vhdx'), '12 00 00 00 60 00');
  expect(shown.status).toBe(0);
  expect(shown.stdout).toMatch(/^INQUIRY: GOOD\n00000000 {2}00 00 06 02 .* {2}\.{4}/);
  expect(shown.stdout).toContain('Msft');
  const { identifier } = await vhdInfo(at('d.vhdx'));
  const serial = JSON.parse((await scsi(at('d.vhdx'), '12018000ff00', '--json')).stdout);
  expect(serial).toMatchObject({ command: 'INQUIRY', status: 0, sense: null, dataLengthBytes: 36 });
  expect(Buffer.from(serial.data, 'hex').toString('latin1', 4)).toBe(identifier?.replaceAll('-', ''));
});

it('writes a sector from a file, reads it into another, and the disk holds it', async () => {
  writeFileSync(at('sector'), Buffer.alloc(512, 'hv'));
  expect((await scsi(at('d.vhdx'), '2a000000000700000100', '--data-out', at('sector'))).stdout).toBe(
    'WRITE(10): GOOD\n',
  );
  await scsi(at('d.vhdx'), '28000000000700000100', '--output', at('back'));
  expect(readFileSync(at('back'))).toEqual(readFileSync(at('sector')));
  await using disk = await openVhd(at('d.vhdx'), { readOnly: true });
  const sector = Buffer.alloc(512);
  disk.read(7 * 512, sector, 0, 512);
  expect(sector).toEqual(readFileSync(at('sector')));
});

it('ends with 1 and names the sense data when the disk refuses', async () => {
  const refused = await scsi(at('d.vhdx'), '28007fffffff00000100');
  expect(refused.status).toBe(1);
  expect(refused.stdout).toBe(
    'READ(10): CHECK CONDITION\nILLEGAL REQUEST: logical block address out of range (05/21/00), block 2147483647\n',
  );
  const json = JSON.parse((await scsi(at('d.vhdx'), 'ff0000', '--json')).stdout);
  expect(json).toMatchObject({ command: null, status: 2, sense: { key: 5, asc: 0x20, ascq: 0 }, dataLengthBytes: 0 });
});

it('is write-protected with --read-only and where the file may not be written', async () => {
  writeFileSync(at('sector'), Buffer.alloc(512, 1));
  const before = readFileSync(at('d.vhdx'));
  const refused = await scsi(at('d.vhdx'), '2a000000000000000100', '--data-out', at('sector'), '--read-only');
  expect(refused.stdout).toContain('write protected (07/27/00)');
  expect(
    Buffer.from(JSON.parse((await scsi(at('d.vhdx'), '1a080800ff00', '--read-only', '--json')).stdout).data, 'hex')[2],
  ).toBe(0x90);
  if (process.getuid?.() !== 0) {
    chmodSync(at('d.vhdx'), 0o400);
    expect((await scsi(at('d.vhdx'), '2a000000000000000100', '--data-out', at('sector'))).stdout).toContain('07/27/00');
  }
  expect(readFileSync(at('d.vhdx')).equals(before)).toBe(true);
});

it('asks who stands on a disk before a command that writes, and only then', async () => {
  const { id } = double.add({ name: 'web1', state: 'Saved' });
  double.diskUsers.set(at('d.vhdx'), [id]);
  writeFileSync(at('sector'), Buffer.alloc(512, 1));
  expect((await scsi(at('d.vhdx'), '2a000000000000000100', '--data-out', at('sector'))).status).toBe(4);
  expect((await scsi(at('d.vhdx'), '28000000000000000100')).status).toBe(0);
  expect((await scsi(at('d.vhdx'), '2a000000000000000100', '--data-out', at('sector'), '--force')).status).toBe(0);
});

it('changes nothing in a dry run, and refuses what is no command', async () => {
  writeFileSync(at('sector'), Buffer.alloc(512, 1));
  const before = readFileSync(at('d.vhdx'));
  const dry = await scsi(at('d.vhdx'), '2a000000000000000100', '--data-out', at('sector'), '--dry-run', '--json');
  expect(JSON.parse(dry.stdout)).toMatchObject({ dryRun: true, writes: true });
  expect(readFileSync(at('d.vhdx')).equals(before)).toBe(true);
  for (const text of ['', 'xyz', '123', '00'.repeat(17)]) expect((await scsi(at('d.vhdx'), text)).status).toBe(2);
  expect((await scsi(at('none.vhdx'), '000000000000')).status).toBe(3);
});
