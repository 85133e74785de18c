import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createVhd, openVhd } from '../../src/disk/index.ts';
import { HostDouble } from './host-double.ts';
import { type Ran, run } from './in-process.ts';
import { temporaryFolder } from './temporary-folder.ts';

const MIB = 2 ** 20;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let double: HostDouble;
beforeEach(async () => {
  folder = await temporaryFolder();
  double = new HostDouble();
});
afterEach(() => folder[Symbol.asyncDispose]());

const at = (name: string): string => join(folder.path, name);
const hv = (...words: string[]): Promise<Ran> => run(['vhd', 'compact', ...words], { double });

/** A disk that a FAT file system fills, over 32 MiB of something older. */
async function fatDisk(name: string): Promise<string> {
  execFileSync('/usr/sbin/mkfs.fat', ['-C', at('fat.raw'), String(32 * 1024)], { stdio: 'pipe' });
  await using raw = await openVhd(at('fat.raw'), { readOnly: true });
  await createVhd(at(name), { sizeBytes: 32 * MIB, blockSizeBytes: MIB });
  await using disk = await openVhd(at(name));
  const buffer = new Uint8Array(MIB).fill(0x5a);
  for (let offset = 0; offset < 32 * MIB; offset += MIB) disk.write(offset, buffer, 0, MIB);
  raw.read(0, buffer, 0, MIB);
  disk.write(0, buffer, 0, MIB);
  return at(name);
}

it('says what it would give back, does it, and says what there was', async () => {
  const path = await fatDisk('disk.vhdx');
  const dry = await hv(path, '--dry-run');
  expect(dry.status).toBe(0);
  const lines = dry.stdout.split('\n');
  expect(lines[0]).toBe('At 0 bytes: fat16, clean, 31.9 MiB free');
  expect(lines[1]).toMatch(
    /^Would give back 0 bytes of zeros, 0 bytes of unmapped blocks, 31\.\d MiB that file systems hold free in .*disk\.vhdx\.$/,
  );
  const ran = await hv(path);
  expect(ran.stdout).toMatch(/\nCompacted .*disk\.vhdx from 36 MiB to 5 MiB: 0 bytes of zeros, /);
  const again = JSON.parse((await hv(path, '--json')).stdout);
  expect(again).toEqual({
    path,
    freedZeroBytes: 0,
    freedUnmappedBytes: 0,
    freedFileSystemBytes: 0,
    fileSizeBytesBefore: 5 * MIB,
    fileSizeBytesAfter: 5 * MIB,
    allocatedBytesBefore: expect.any(Number),
    allocatedBytesAfter: expect.any(Number),
    volumes: [
      {
        offset: 0,
        sizeBytes: 32 * MIB,
        kind: 'fat16',
        state: 'clean',
        freeBytes: expect.any(Number),
        used: true,
        why: '',
      },
    ],
  });
});

it('says why a volume is left alone, and looks at zeros only when told so', async () => {
  const path = await fatDisk('disk.vhdx');
  {
    await using disk = await openVhd(path);
    disk.write(0x25, Uint8Array.of(1), 0, 1);
    disk.write(9 * MIB, new Uint8Array(MIB), 0, MIB);
  }
  const ran = await hv(path);
  expect(ran.stdout).toContain('At 0 bytes: fat16, left alone (dirty): its dirty flag is set\n');
  // Zeros inside the blocks that stay become holes, too.
  expect(ran.stdout).toMatch(/from 36 MiB to 35 MiB: 1[.]\d+ MiB of zeros/);
  const zeros = await hv(path, '--zero-only');
  expect(zeros.stdout).toMatch(
    /^Compacted .* from 35 MiB to 35 MiB: 0 bytes of zeros, 0 bytes of unmapped blocks\.\n$/,
  );
});

it('refuses fixed disks, parents of others, and files that are not there', async () => {
  await createVhd(at('fixed.vhdx'), { sizeBytes: 8 * MIB, type: 'fixed' });
  expect((await hv(at('fixed.vhdx'))).status).toBe(5);
  const path = await fatDisk('base.vhdx');
  await createVhd(at('child.vhdx'), { parentPath: path });
  expect((await hv(path)).status).toBe(4);
  expect((await hv(at('none.vhdx'))).status).toBe(3);
});
