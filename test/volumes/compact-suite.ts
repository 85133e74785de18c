import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { expect } from 'vitest';
import { type BlockDevice, compactVhd, createVhd, openVhd } from '../../src/disk/index.ts';
import { findVolumes } from '../../src/disk/volumes/find-volumes.ts';
import { makeVolume, type VolumeKind } from './file-systems.ts';
import { MIB, TemporaryFolder, tool } from './tools.ts';

/** Where the one partition of a test's disk starts. */
export const START = MIB;

/** Copies a file into a disk, holes left out. */
export async function importFile(path: string, disk: BlockDevice, offset: number): Promise<void> {
  const fd = openSync(path, 'r');
  const buffer = Buffer.alloc(MIB);
  const size = statSync(path).size;
  for (let at = 0; at < size; at += MIB) {
    const count = readSync(fd, buffer, 0, MIB, at);
    if (!buffer.subarray(0, count).equals(Buffer.alloc(count))) disk.write(offset + at, buffer, 0, count);
  }
  closeSync(fd);
  await disk.flush();
}

/** The contents of a disk from a place on, as a file. */
export async function exportFile(diskPath: string, offset: number, sizeBytes: number, path: string): Promise<void> {
  await using disk = await openVhd(diskPath, { readOnly: true });
  const fd = openSync(path, 'w');
  const buffer = Buffer.alloc(MIB);
  for (let at = 0; at < sizeBytes; at += MIB) {
    const count = Math.min(MIB, sizeBytes - at);
    disk.read(offset + at, buffer, 0, count);
    writeSync(fd, buffer, 0, count, at);
  }
  closeSync(fd);
}

/** A disk with a GPT and one partition that holds a volume. */
export async function diskWith(
  folder: TemporaryFolder,
  kind: VolumeKind,
  name: string,
): Promise<ReturnType<typeof makeVolume>> {
  const volume = folder.file('volume.raw');
  const files = makeVolume(kind, volume, true);
  const table = folder.file('table.raw');
  tool('truncate', ['-s', String(kind.sizeBytes + 2 * MIB), table]);
  tool('sfdisk', ['-q', table], { input: `label: gpt\nstart=2048, size=${kind.sizeBytes / 512}\n` });
  await createVhd(folder.file(name), {
    sizeBytes: kind.sizeBytes + 2 * MIB,
    ...(name.endsWith('.vhdx') ? { blockSizeBytes: MIB } : {}),
  });
  await using disk = await openVhd(folder.file(name));
  await importFile(table, disk, 0);
  await importFile(volume, disk, START);
  return files;
}

/** All that the disk holds but what is free in its volumes, as one checksum per piece. */
export async function usedContents(path: string): Promise<Map<number, string>> {
  await using disk = await openVhd(path, { readOnly: true });
  const free = findVolumes(disk).flatMap((volume) => [...volume.freeRanges()]);
  const pieces = new Map<number, string>();
  const buffer = Buffer.alloc(MIB);
  for (let at = 0; at < disk.sizeBytes; at += MIB) {
    const count = Math.min(MIB, disk.sizeBytes - at);
    disk.read(at, buffer, 0, count);
    for (const { offset, length } of free) {
      const from = Math.max(at, offset);
      const to = Math.min(at + count, offset + length);
      if (from < to) buffer.fill(0, from - at, to - at);
    }
    pieces.set(at, createHash('sha256').update(buffer.subarray(0, count)).digest('hex'));
  }
  return pieces;
}

/** A disk with such a volume is compacted: what is free goes, and everything else stays, as the system's own tools see it. */
export async function compactOne(kind: VolumeKind): Promise<void> {
  using folder = new TemporaryFolder();
  const path = folder.file('disk.vhdx');
  const files = await diskWith(folder, kind, 'disk.vhdx');
  const before = await usedContents(path);
  const planned = await compactVhd(path, { dryRun: true });
  expect(await usedContents(path)).toEqual(before);
  const result = await compactVhd(path);
  expect(result).toMatchObject({
    freedZeroBytes: planned.freedZeroBytes,
    freedFileSystemBytes: planned.freedFileSystemBytes,
    volumes: [{ offset: START, sizeBytes: kind.sizeBytes, kind: kind.kind, state: 'clean', used: true, why: '' }],
  });
  // Most of the free space makes the file shorter; pieces of blocks at least make it sparse.
  const free = result.volumes[0]?.freeBytes ?? 0;
  expect(result.fileSizeBytesBefore - result.fileSizeBytesAfter).toBeGreaterThan(free * 0.8 - 6 * MIB);
  expect(result.freedFileSystemBytes).toBeGreaterThan(free * 0.9 - 2 * MIB);
  expect(result.allocatedBytesAfter).toBeLessThan(kind.sizeBytes - free + 12 * MIB);
  expect(await usedContents(path)).toEqual(before);
  tool('qemu-img', ['check', '-f', 'vhdx', path]);

  const volume = folder.file('after.raw');
  await exportFile(path, START, kind.sizeBytes, volume);
  kind.check(volume);
  for (const { name, content } of files) expect(kind.get(volume, name).equals(content)).toBe(true);
  // There is nothing left to be had.
  const again = await compactVhd(path);
  expect(again).toMatchObject({ freedZeroBytes: 0, freedUnmappedBytes: 0, freedFileSystemBytes: 0 });
  expect(again.fileSizeBytesAfter).toBe(result.fileSizeBytesAfter);
}
