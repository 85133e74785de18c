import { expect, test } from 'vitest';
import { compactVhd, enableChangeTracking, openVhd, queryChanges, takeReferencePoint } from '../../src/disk/index.ts';
import { diskWith } from './compact-suite.ts';
import { FAT_KINDS, type VolumeKind } from './file-systems.ts';
import { MIB, TemporaryFolder } from './tools.ts';

async function contents(path: string): Promise<Buffer> {
  await using disk = await openVhd(path, { readOnly: true });
  const bytes = Buffer.alloc(disk.sizeBytes);
  for (let at = 0; at < bytes.length; at += MIB) disk.read(at, bytes, at, Math.min(MIB, bytes.length - at));
  return bytes;
}

test('what compact takes from a tracked disk counts as changed, and giving back zeros does not', async () => {
  using folder = new TemporaryFolder();
  const path = folder.file('disk.vhdx');
  await diskWith(folder, FAT_KINDS[0] as VolumeKind, 'disk.vhdx'); // there is one
  {
    await using disk = await openVhd(path);
    disk.write(9 * MIB, Buffer.alloc(MIB / 2), 0, MIB / 2);
  }
  await enableChangeTracking(path);
  const first = await takeReferencePoint(path);
  await compactVhd(path, { freeSpace: false });
  expect((await queryChanges(path, first)).ranges).toEqual([]);

  const before = await contents(path);
  const id = await takeReferencePoint(path);
  const result = await compactVhd(path);
  expect(result.freedFileSystemBytes).toBeGreaterThan(2 * MIB);
  const after = await contents(path);
  const changed = Buffer.alloc(before.length);
  for (const { offsetBytes, lengthBytes } of (await queryChanges(path, id)).ranges) {
    changed.fill(1, offsetBytes, offsetBytes + lengthBytes);
  }
  let differing = 0;
  for (let at = 0; at < before.length; at += 512) {
    if (before.compare(after, at, at + 512, at, at + 512) === 0) continue;
    differing++;
    expect(changed[at], `the sector at ${at}`).toBe(1);
  }
  expect(differing).toBeGreaterThan(3000);
});
