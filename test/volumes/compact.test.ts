import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  checkVhd,
  compactVhd,
  createVhd,
  createVhdSet,
  diskDependencies,
  FileDisks,
  hashVhd,
  openVhd,
  vhdInfo,
} from '../../src/disk/index.ts';
import { isHvError } from '../../src/errors/index.ts';
import { seededRandom } from '../../src/store/testing/fault-store.ts';
import { compactOne, diskWith, exportFile, importFile, START, usedContents } from './compact-suite.ts';
import { KINDS, makeVolume, noise, type VolumeKind } from './file-systems.ts';
import { MIB, TemporaryFolder, tool } from './tools.ts';

/** The others come in the full tier. */
const TITLES = [
  'ext4 as it comes',
  'ext4 with bigalloc of 1 KiB blocks',
  'ext2',
  'NTFS of 512 byte clusters',
  'FAT12',
  'FAT32 -s 1',
];

/** As small as each may be: the full tier has them as they are. */
const SMALL = KINDS.map((kind) => ({ ...kind, sizeBytes: Math.min(kind.sizeBytes, 40 * MIB) }));

function small(title: string): VolumeKind {
  const kind = SMALL.find((candidate) => candidate.title === title);
  if (!kind) throw new Error(`no kind ${title}`);
  return kind;
}

describe('compact gives back what a clean file system holds free', () => {
  test.each(SMALL.filter(({ title }) => TITLES.includes(title)))('$title', (kind) => compactOne(kind));

  test('in a VHD as well', async () => {
    using folder = new TemporaryFolder();
    const kind = small('ext4 as it comes');
    const path = folder.file('disk.vhd');
    const files = await diskWith(folder, kind, 'disk.vhd');
    const before = await usedContents(path);
    const result = await compactVhd(path);
    expect(result.volumes).toMatchObject([{ kind: 'ext4', used: true }]);
    expect(result.fileSizeBytesBefore - result.fileSizeBytesAfter).toBeGreaterThan(20 * MIB);
    expect(await usedContents(path)).toEqual(before);
    const volume = folder.file('after.raw');
    await exportFile(path, START, kind.sizeBytes, volume);
    kind.check(volume);
    for (const { name, content } of files) expect(kind.get(volume, name).equals(content)).toBe(true);
  });

  test('but not when it is told to look at zeros only', async () => {
    using folder = new TemporaryFolder();
    const kind = small('FAT12');
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
    const kind = small(title);
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

  test.each(['disk.vhdx', 'disk.vhd'])(
    'and the host space of zeros inside the blocks of %s that stay',
    async (name) => {
      using folder = new TemporaryFolder();
      const path = folder.file(name);
      await createVhd(path, { sizeBytes: 32 * MIB, blockSizeBytes: name.endsWith('x') ? 8 * MIB : 2 * MIB });
      {
        await using disk = await openVhd(path);
        for (let block = 0; block < 16; block++) {
          disk.write(block * 2 * MIB, Buffer.alloc(2 * MIB), 0, 2 * MIB);
          disk.write(block * 2 * MIB + 512, noise(4096, block), 0, 4096);
        }
        // Shorter than what is worth a hole, between two bytes.
        disk.write(MIB, Uint8Array.of(1), 0, 1);
        disk.write(MIB + 32 * 1024, Uint8Array.of(1), 0, 1);
      }
      const before = await usedContents(path);
      const contentId = (await vhdInfo(path)).dataWriteGuid;
      const planned = await compactVhd(path, { dryRun: true, freeSpace: false });
      const result = await compactVhd(path, { freeSpace: false });
      expect(planned.freedZeroBytes).toBe(result.freedZeroBytes);
      expect(result.freedZeroBytes).toBeGreaterThan(26 * MIB);
      expect(result.fileSizeBytesAfter).toBe(result.fileSizeBytesBefore);
      expect(result.allocatedBytesBefore - result.allocatedBytesAfter).toBeGreaterThan(26 * MIB);
      expect(await usedContents(path)).toEqual(before);
      expect((await vhdInfo(path)).dataWriteGuid).toBe(contentId);
      expect((await checkVhd(path)).findings).toEqual([]);
      expect((await compactVhd(path, { freeSpace: false })).freedZeroBytes).toBe(0);
    },
  );

  test.each(['vhdx', 'vhd'])('of a parent under its children, told to look at zeros only: %s', async (ending) => {
    using folder = new TemporaryFolder();
    const disks = new FileDisks();
    const [base, child, leaf] = ['base', 'child', 'leaf'].map((name) => folder.file(`${name}.${ending}`)) as [
      string,
      string,
      string,
    ];
    const random = seededRandom(5);
    for (const [index, path] of [base, child, leaf].entries()) {
      const parentPath = [base, child][index - 1];
      await createVhd(path, parentPath ? { parentPath } : { sizeBytes: 48 * MIB, blockSizeBytes: 2 * MIB });
      await using disk = await openVhd(path);
      for (let count = 0; count < 24; count++) {
        const at = Math.floor(random() * 90) * 512 * 1024;
        const length = 4096 * (1 + Math.floor(random() * 200));
        const bytes = random() < 0.5 ? Buffer.alloc(length) : noise(length, count);
        disk.write(at, bytes, 0, Math.min(length, disk.sizeBytes - at));
      }
    }
    const hashes = async () => Promise.all([base, child, leaf].map(async (path) => (await hashVhd(path)).hash));
    const before = await hashes();
    for (const path of [base, child]) {
      await expect(disks.compact(path)).rejects.toMatchObject({ code: 'in-use' });
      const { freedZeroBytes } = await disks.compact(path, { freeSpace: false });
      expect(freedZeroBytes).toBeGreaterThan(0);
    }
    expect(await hashes()).toEqual(before);
    for (const path of [base, child, leaf]) expect((await checkVhd(path)).findings, path).toEqual([]);
    const { chain } = await diskDependencies(leaf);
    expect(chain.map(({ parentState }) => parentState)).toEqual(['ok', 'ok', null]);
  });

  test('that are unmapped but keep their space, as Windows leaves them', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('disk.vhdx');
    await createVhd(path, { sizeBytes: 64 * MIB, blockSizeBytes: MIB });
    {
      await using disk = await openVhd(path);
      for (let block = 0; block < 8; block++) disk.write(block * MIB, noise(MIB, block), 0, MIB);
    }
    // The table lies at 3 MiB; states 1 and 3 are undefined and unmapped ([MS-VHDX] 2.5.1.1).
    const fd = openSync(path, 'r+');
    for (const [block, state] of [
      [2, 1],
      [5, 3],
    ] as const) {
      const entry = Buffer.alloc(8);
      readSync(fd, entry, 0, 8, 3 * MIB + block * 8);
      entry[0] = state;
      writeSync(fd, entry, 0, 8, 3 * MIB + block * 8);
    }
    closeSync(fd);
    const before = await usedContents(path);
    const planned = await compactVhd(path, { dryRun: true });
    const result = await compactVhd(path);
    expect(planned.freedUnmappedBytes).toBe(2 * MIB);
    expect(result).toMatchObject({ freedZeroBytes: 0, freedUnmappedBytes: 2 * MIB });
    expect(result.fileSizeBytesBefore - result.fileSizeBytesAfter).toBe(2 * MIB);
    expect(await usedContents(path)).toEqual(before);
    tool('qemu-img', ['check', '-f', 'vhdx', path]);
  });

  test.each(['compact', 'reclaim'])(
    'and stops where it is told to, in the phase %s, with the disk whole',
    async (phase) => {
      using folder = new TemporaryFolder();
      const path = folder.file('disk.vhdx');
      await createVhd(path, { sizeBytes: 96 * MIB, blockSizeBytes: MIB });
      {
        await using disk = await openVhd(path);
        const data = noise(MIB, 1);
        for (let block = 0; block < 96; block++)
          disk.write(block * MIB, block % 3 === 0 ? data : Buffer.alloc(MIB), 0, MIB);
      }
      const before = await usedContents(path);
      const stop = new AbortController();
      const phases = new Set<string>();
      const onProgress = (progress: { readonly phase: string }): void => {
        phases.add(progress.phase);
        if (progress.phase === phase) stop.abort();
      };
      await expect(compactVhd(path, { signal: stop.signal, onProgress })).rejects.toMatchObject({ code: 'aborted' });
      expect(phases).toContain(phase);
      expect(await usedContents(path)).toEqual(before);
      const result = await compactVhd(path);
      expect(result.fileSizeBytesAfter).toBeLessThan(38 * MIB);
      expect(await usedContents(path)).toEqual(before);
    },
  );

  test.each(['vhdx', 'vhd'])('of a parent (%s) without its children noticing', async (ending) => {
    using folder = new TemporaryFolder();
    const base = folder.file(`base.${ending}`);
    const child = folder.file(`child.${ending}`);
    await createVhd(base, { sizeBytes: 32 * MIB, blockSizeBytes: 2 * MIB });
    {
      await using disk = await openVhd(base);
      disk.write(0, noise(2 * MIB, 1), 0, 2 * MIB);
      disk.write(4 * MIB, Buffer.alloc(8 * MIB), 0, 8 * MIB);
    }
    await createVhd(child, { parentPath: base });
    const before = await usedContents(child);
    const result = await compactVhd(base, { freeSpace: false });
    expect(result.freedZeroBytes).toBe(8 * MIB);
    expect(await usedContents(child)).toEqual(before);
  });

  test('of the file that a VHD Set has now', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('disk.vhds');
    await createVhdSet(path, { sizeBytes: 16 * MIB, blockSizeBytes: MIB });
    {
      await using disk = await openVhd(path);
      disk.write(MIB, noise(MIB, 1), 0, MIB);
      disk.write(2 * MIB, Buffer.alloc(MIB), 0, MIB);
    }
    const result = await compactVhd(path);
    expect(result).toMatchObject({ freedZeroBytes: MIB });
    expect(result.path).not.toBe(path);
    expect(await compactVhd(path, { dryRun: true })).toMatchObject({ freedZeroBytes: 0 });
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
    const kind = small('ext4 as it comes');
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
      disk.write(START + 30 * MIB, Buffer.alloc(4 * MIB), 0, 4 * MIB);
    }
    const parentBefore = await usedContents(folder.file(base));
    const before = await usedContents(child);
    const result = await compactVhd(child);
    expect(result.volumes).toMatchObject([{ kind: 'ext4', state: 'clean', used: true }]);
    expect(await usedContents(child)).toEqual(before);
    expect(await usedContents(folder.file(base))).toEqual(parentBefore);
    if (ending === 'vhdx') {
      expect(result.fileSizeBytesBefore - result.fileSizeBytesAfter).toBeGreaterThan(20 * MIB);
      // What was freed reads as zero, not as the parent's garbage.
      await using disk = await openVhd(child, { readOnly: true });
      const zeros = Buffer.alloc(2 * MIB, 1);
      disk.read(START + 31 * MIB, zeros, 0, 2 * MIB);
      expect(zeros.equals(Buffer.alloc(2 * MIB))).toBe(true);
    }
    const volume = folder.file('after.raw');
    await exportFile(child, START, kind.sizeBytes, volume);
    kind.check(volume);
    for (const { name, content } of files) expect(kind.get(volume, name).equals(content)).toBe(true);
  });
});
