import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { type BlockDevice, compactVhd, createVhd, openVhd } from '../../src/disk/index.ts';
import { findVolumes } from '../../src/disk/volumes/find-volumes.ts';
import { isHvError } from '../../src/errors/index.ts';
import { EXT_KINDS, FAT_KINDS, KINDS, makeVolume, NTFS_KINDS, noise, type VolumeKind } from './file-systems.ts';
import { MIB, TemporaryFolder, tool } from './tools.ts';

/** Where the one partition of a test's disk starts. */
const START = MIB;

/** Copies a file into a disk, holes left out. */
async function importFile(path: string, disk: BlockDevice, offset: number): Promise<void> {
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
async function exportFile(diskPath: string, offset: number, sizeBytes: number, path: string): Promise<void> {
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
async function diskWith(
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
async function usedContents(path: string): Promise<Map<number, string>> {
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

const COMPACTED = [
  ...EXT_KINDS.filter(({ title }) => /as it comes|without flex|bigalloc$|uninit|ext3|ext2/.test(title)),
  ...NTFS_KINDS.slice(0, 2),
  ...FAT_KINDS.slice(0, 4),
];

describe('compact gives back what a clean file system holds free', () => {
  test.each(COMPACTED)('$title', async (kind) => {
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
  });

  test('in a VHD as well', async () => {
    using folder = new TemporaryFolder();
    const kind = KINDS.find(({ title }) => title === 'ext4 as it comes') as VolumeKind; // it is there
    const path = folder.file('disk.vhd');
    const files = await diskWith(folder, kind, 'disk.vhd');
    const before = await usedContents(path);
    const result = await compactVhd(path);
    expect(result.volumes).toMatchObject([{ kind: 'ext4', used: true }]);
    expect(result.fileSizeBytesBefore - result.fileSizeBytesAfter).toBeGreaterThan(60 * MIB);
    expect(await usedContents(path)).toEqual(before);
    const volume = folder.file('after.raw');
    await exportFile(path, START, kind.sizeBytes, volume);
    kind.check(volume);
    for (const { name, content } of files) expect(kind.get(volume, name).equals(content)).toBe(true);
  });

  test('but not when it is told to look at zeros only', async () => {
    using folder = new TemporaryFolder();
    const kind = FAT_KINDS[0] as VolumeKind; // it is there
    await diskWith(folder, kind, 'disk.vhdx');
    const path = folder.file('disk.vhdx');
    const result = await compactVhd(path, { freeSpace: false });
    expect(result).toMatchObject({ freedFileSystemBytes: 0, volumes: [] });
  });
});

describe('compact leaves alone what is not clean', () => {
  test.each([
    ['ext4 without metadata_csum', 1024 + 0x3a, 0, 'dirty'],
    ['ext4 without metadata_csum', 1024 + 0x60, 0xc6, 'needs-recovery'],
    ['ext4 as it comes', 1024 + 0x3a, 0, 'damaged'],
    ['ext2', 1024 + 0x3a, 2, 'dirty'],
    ['FAT16', 0x25, 1, 'dirty'],
    ['FAT12', 0x25, 1, 'dirty'],
  ] as const)('%s with byte %i set to %i', async (title, at, value, state) => {
    using folder = new TemporaryFolder();
    const kind = KINDS.find((candidate) => candidate.title === title) as VolumeKind; // the titles are there
    const path = folder.file('disk.vhdx');
    await diskWith(folder, kind, 'disk.vhdx');
    {
      await using disk = await openVhd(path);
      disk.write(START + at, Uint8Array.of(value), 0, 1);
    }
    const before = folder.file('before.raw');
    const after = folder.file('after.raw');
    await exportFile(path, 0, kind.sizeBytes + 2 * MIB, before);
    const result = await compactVhd(path);
    expect(result).toMatchObject({ freedFileSystemBytes: 0, volumes: [{ kind: kind.kind, state, used: false }] });
    expect(result.volumes[0]?.why).not.toBe('');
    await exportFile(path, 0, kind.sizeBytes + 2 * MIB, after);
    tool('cmp', [before, after]);
  });
});

describe('compact frees blocks without a file system', () => {
  test('that hold zeros, or nothing', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('disk.vhdx');
    await createVhd(path, { sizeBytes: 64 * MIB, blockSizeBytes: MIB });
    {
      await using disk = await openVhd(path);
      for (let block = 0; block < 32; block++) disk.write(block * MIB, noise(4096, block), 0, 4096);
      // Zeros that were written, a byte at the very end of zeros, and blocks that were trimmed.
      disk.write(3 * MIB, Buffer.alloc(4096), 0, 4096);
      disk.write(4 * MIB, Buffer.alloc(4096), 0, 4096);
      disk.write(4 * MIB + MIB - 1, Uint8Array.of(1), 0, 1);
      disk.trim(8 * MIB, 8 * MIB);
    }
    const before = await usedContents(path);
    const result = await compactVhd(path);
    expect(result).toMatchObject({
      freedZeroBytes: MIB,
      freedFileSystemBytes: 0,
      volumes: [{ state: 'unknown', used: false }],
    });
    expect(result.fileSizeBytesBefore - result.fileSizeBytesAfter).toBe(9 * MIB);
    expect(await usedContents(path)).toEqual(before);
  });

  test('refuses fixed and raw disks, stops at an abort, and changes neither', async () => {
    using folder = new TemporaryFolder();
    for (const [name, options] of [
      ['fixed.vhdx', { type: 'fixed' }],
      ['fixed.vhd', { type: 'fixed' }],
      ['disk.raw', {}],
    ] as const) {
      await createVhd(folder.file(name), { sizeBytes: 8 * MIB, ...options });
      const failure = await compactVhd(folder.file(name)).catch((error: unknown) => error);
      expect(isHvError(failure, 'unsupported')).toBe(true);
    }
    const signal = AbortSignal.abort();
    await expect(compactVhd(folder.file('fixed.vhdx'), { signal })).rejects.toMatchObject({ code: 'aborted' });
  });
});

describe('compact of a child never shows its parent', () => {
  test.each(['vhdx', 'vhd'])('%s: blocks of zeros over data stay zeros, and free space too', async (ending) => {
    using folder = new TemporaryFolder();
    const kind = KINDS.find(({ title }) => title === 'ext4 as it comes') as VolumeKind; // it is there
    const base = `base.${ending}`;
    const child = folder.file(`child.${ending}`);
    const files = await diskWith(folder, kind, base);
    await createVhd(child, { parentPath: folder.file(base) });
    {
      await using disk = await openVhd(child);
      // A second life over the first: another file system with other files, over garbage.
      makeVolume(kind, folder.file('second.raw'), true);
      await importFile(folder.file('second.raw'), disk, START);
      // Zeros of the child's own over what the parent holds.
      disk.write(START + 40 * MIB, Buffer.alloc(4 * MIB), 0, 4 * MIB);
    }
    const parentBefore = await usedContents(folder.file(base));
    const before = await usedContents(child);
    const result = await compactVhd(child);
    expect(result.volumes).toMatchObject([{ kind: 'ext4', state: 'clean', used: true }]);
    expect(await usedContents(child)).toEqual(before);
    expect(await usedContents(folder.file(base))).toEqual(parentBefore);
    if (ending === 'vhdx') {
      expect(result.fileSizeBytesBefore - result.fileSizeBytesAfter).toBeGreaterThan(50 * MIB);
      // What was freed reads as zero, not as the parent's garbage.
      await using disk = await openVhd(child, { readOnly: true });
      const zeros = Buffer.alloc(2 * MIB, 1);
      disk.read(START + 41 * MIB, zeros, 0, 2 * MIB);
      expect(zeros.equals(Buffer.alloc(2 * MIB))).toBe(true);
    }
    const volume = folder.file('after.raw');
    await exportFile(child, START, kind.sizeBytes, volume);
    kind.check(volume);
    for (const { name, content } of files) expect(kind.get(volume, name).equals(content)).toBe(true);
  });
});
