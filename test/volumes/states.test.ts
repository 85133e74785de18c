import { closeSync, copyFileSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { openVhd } from '../../src/disk/index.ts';
import { findVolumes } from '../../src/disk/volumes/find-volumes.ts';
import { EXT_KINDS, FAT_KINDS, NTFS_KINDS, type VolumeKind } from './file-systems.ts';
import { MIB, sparseFile, TemporaryFolder, tool } from './tools.ts';

async function stateOf(path: string): Promise<string> {
  await using disk = await openVhd(path, { format: 'raw', readOnly: true });
  return findVolumes(disk)
    .map(({ state, freeBytes }) => `${state}${state === 'clean' || freeBytes === null ? '' : ' with free space'}`)
    .join();
}

function kindOf(kinds: readonly VolumeKind[], title: string): VolumeKind {
  const kind = kinds.find((candidate) => candidate.title === title);
  if (!kind) throw new Error(`no kind ${title}`);
  return kind;
}

/** Changes bytes of a file. */
function patch(path: string, offset: number, change: (bytes: Buffer) => unknown, length = 8): void {
  const fd = openSync(path, 'r+');
  const bytes = Buffer.alloc(length);
  readSync(fd, bytes, 0, length, offset);
  change(bytes);
  writeSync(fd, bytes, 0, length, offset);
  closeSync(fd);
}

describe('an ext4 volume that is not clean', () => {
  test.each([
    ['has a journal to replay', 'feature needs_recovery', 'needs-recovery'],
    ['was not unmounted', 'ssv state 0', 'dirty'],
    ['has noted errors', 'ssv state 3', 'dirty'],
    ['has noted errors once', 'ssv error_count 1', 'dirty'],
    ['has orphans', 'ssv last_orphan 12', 'dirty'],
    ['has a feature of the future', 'ssv feature_incompat 0x800002c2', 'unsupported'],
    ['has a wrong count of free blocks', 'set_bg 0 free_blocks_count 7', 'damaged'],
    ['calls its own inode table free', 'freeb 40 1', 'damaged'],
  ] as const)('%s', async (_title, command, state) => {
    using folder = new TemporaryFolder();
    const path = folder.file('volume.raw');
    sparseFile(path, 32 * MIB);
    kindOf(EXT_KINDS, 'ext4 without metadata_csum').format(path);
    expect(await stateOf(path)).toBe('clean');
    tool('debugfs', ['-w', '-R', command, path]);
    expect(await stateOf(path)).toBe(state);
  });

  test('has a bitmap, a descriptor or a superblock that its checksum does not fit', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('volume.raw');
    sparseFile(path, 32 * MIB);
    kindOf(EXT_KINDS, 'ext4 as it comes').format(path);
    const said = tool('dumpe2fs', [path]);
    const blockBytes = Number(/^Block size: +(\d+)/m.exec(said)?.[1]);
    const bitmap = Number(/Block bitmap at (\d+)/.exec(said)?.[1]) * blockBytes;
    const table = Math.max(2048, blockBytes);
    for (const offset of [bitmap + 100, table + 12, 1024 + 200]) {
      const broken = folder.file('broken.raw');
      copyFileSync(path, broken);
      patch(broken, offset, (bytes) => {
        bytes[0] = (bytes[0] ?? 0) ^ 1;
      });
      expect(await stateOf(broken)).toBe('damaged');
    }
  });
});

describe('an NTFS volume that is not clean', () => {
  /** Where a record of the master file table lies. */
  function recordOffset(path: string, record: number): number {
    const boot = readFileSync(path).subarray(0, 512);
    const cluster = boot.readUInt16LE(11) * (boot[13] ?? 0);
    return Number(boot.readBigUInt64LE(0x30)) * cluster + record * 1024;
  }

  function withNtfs(use: (path: string, folder: TemporaryFolder) => Promise<void>): Promise<void> {
    const folder = new TemporaryFolder();
    const path = folder.file('volume.raw');
    sparseFile(path, 24 * MIB);
    kindOf(NTFS_KINDS, 'NTFS as it comes').format(path);
    return use(path, folder).finally(() => folder[Symbol.dispose]());
  }

  test('has its dirty flag set', () =>
    withNtfs(async (path) => {
      const offset = recordOffset(path, 3);
      const record = readFileSync(path).subarray(offset, offset + 1024);
      let at = record.readUInt16LE(0x14);
      while (record.readUInt32LE(at) !== 0x70) at += record.readUInt32LE(at + 4);
      const flags = offset + at + record.readUInt16LE(at + 0x14) + 0xa;
      expect(await stateOf(path)).toBe('clean');
      patch(path, flags, (bytes) => bytes.writeUInt16LE(1));
      expect(await stateOf(path)).toBe('dirty');
      patch(path, flags, (bytes) => bytes.writeUInt16LE(0x4000));
      expect(await stateOf(path)).toBe('dirty');
    }));

  test('is hibernated: a live hiberfil.sys lies in its root, among few files and among many', () =>
    withNtfs(async (path, folder) => {
      const source = folder.file('source');
      // A marker that lies on a boundary of clusters, so that it is found again where the file starts.
      const contents = Buffer.concat([Buffer.from('wake, and a marker'), Buffer.alloc(100_000, 1)]);
      writeFileSync(source, contents);
      tool('ntfscp', ['-q', path, source, 'hiberfil.sys']);
      const states = async (): Promise<string[]> => {
        const offset = readFileSync(path).indexOf('wake, and a marker');
        const found: string[] = [];
        for (const signature of ['hibr', 'HIBR', 'RSTR', 'else', 'wake']) {
          patch(path, offset, (bytes) => void bytes.write(signature, 'latin1'));
          found.push(await stateOf(path));
        }
        return found;
      };
      expect(await states()).toEqual(['hibernated', 'hibernated', 'clean', 'hibernated', 'clean']);
      // So many names make the root's index a tree.
      writeFileSync(source, 'x');
      for (let index = 0; index < 60; index++) {
        tool('ntfscp', ['-q', path, source, `a-rather-long-name-of-a-file-${index}`]);
      }
      expect(await states()).toEqual(['hibernated', 'hibernated', 'clean', 'hibernated', 'clean']);
      writeFileSync(source, Buffer.alloc(100_000));
      tool('ntfscp', ['-q', path, source, 'hiberfil.sys']);
      expect(await stateOf(path)).toBe('clean');
    }));

  test('has a log that is open, or kept by fast startup', () =>
    withNtfs(async (path) => {
      const ones = Buffer.alloc(65_536, 0xff);
      const log = readFileSync(path).indexOf(ones);
      expect(log % 4096).toBe(0);
      const page = (change: { client?: number; flags?: number; major?: number; lsn?: number }): Buffer => {
        const bytes = Buffer.alloc(4096);
        bytes.write('RSTR', 0, 'latin1');
        bytes.writeUInt16LE(0x1e, 4);
        bytes.writeUInt16LE(9, 6);
        bytes.writeUInt32LE(4096, 0x10);
        bytes.writeUInt32LE(4096, 0x14);
        bytes.writeUInt16LE(0x30, 0x18);
        bytes.writeInt16LE(1, 0x1a);
        bytes.writeInt16LE(change.major ?? 1, 0x1c);
        bytes.writeBigUInt64LE(BigInt(change.lsn ?? 1), 0x30);
        bytes.writeUInt16LE(1, 0x38);
        bytes.writeUInt16LE(change.client ?? 0xffff, 0x3c);
        bytes.writeUInt16LE(change.flags ?? 0, 0x3e);
        // The update sequence: its mark at the end of each 512 bytes.
        bytes.writeUInt16LE(7, 0x1e);
        for (let end = 512; end <= 4096; end += 512) bytes.writeUInt16LE(7, end - 2);
        return bytes;
      };
      const put = (first: Buffer, second: Buffer): Promise<string> => {
        patch(path, log, (bytes) => void Buffer.concat([first, second]).copy(bytes), 8192);
        return stateOf(path);
      };
      expect(await put(page({}), page({ lsn: 2 }))).toBe('clean');
      expect(await put(page({ client: 0 }), page({ client: 0, lsn: 2 }))).toBe('needs-recovery');
      expect(await put(page({ client: 0 }), page({ client: 0, lsn: 2, flags: 2 }))).toBe('clean');
      // The page with the higher number counts.
      expect(await put(page({ client: 0, lsn: 9 }), page({ lsn: 2 }))).toBe('needs-recovery');
      expect(await put(page({ major: 2 }), page({ major: 2 }))).toBe('needs-recovery');
      expect(await put(Buffer.alloc(4096), page({ lsn: 2 }))).toBe('clean');
      expect(await put(Buffer.alloc(4096), Buffer.alloc(4096))).toBe('damaged');
    }));

  test('has a bitmap that calls its own files free', () =>
    withNtfs(async (path) => {
      const bytes = readFileSync(path);
      const offset = recordOffset(path, 6);
      let at = offset + bytes.readUInt16LE(offset + 0x14);
      while (bytes.readUInt32LE(at) !== 0x80) at += bytes.readUInt32LE(at + 4);
      const runs = at + bytes.readUInt16LE(at + 0x20);
      const widths = bytes[runs] ?? 0;
      const cluster = bytes.readUIntLE(runs + 1 + (widths & 15), widths >> 4);
      patch(path, cluster * 4096, (start) => {
        start[0] = 0;
      });
      expect(await stateOf(path)).toBe('damaged');
    }));
});

describe('a FAT volume that is not clean', () => {
  test.each(FAT_KINDS)('$title', async (kind) => {
    using folder = new TemporaryFolder();
    const path = folder.file('volume.raw');
    sparseFile(path, kind.sizeBytes);
    kind.format(path);
    expect(await stateOf(path)).toBe('clean');
    const broken = folder.file('broken.raw');
    const bits = Number(kind.kind.slice(3));
    const withPatch = async (offset: number, change: (bytes: Buffer) => unknown): Promise<string> => {
      tool('cp', ['--sparse=always', path, broken]);
      patch(broken, offset, change);
      return stateOf(broken);
    };
    const flags = bits === 32 ? 0x41 : 0x25;
    expect(await withPatch(flags, (bytes) => bytes.writeUInt8(1))).toBe('dirty');
    const boot = readFileSync(path).subarray(0, 512);
    const fat = boot.readUInt16LE(14) * boot.readUInt16LE(11);
    // A table that differs from its copy.
    const copies = await withPatch(fat + 300, (bytes) => bytes.writeUInt8(0xf0));
    expect(copies).toBe((boot[16] ?? 0) > 1 ? 'damaged' : 'clean');
    if (bits === 12) return;
    const entry = bits === 16 ? fat + 2 : fat + 4;
    const top = bits === 16 ? 1 : 3;
    const [clean, noErrors] = bits === 16 ? [0x80, 0x40] : [0x08, 0x04];
    expect(await withPatch(entry, (bytes) => bytes.writeUInt8(bytes.readUInt8(top) & ~clean, top))).toBe('dirty');
    expect(await withPatch(entry, (bytes) => bytes.writeUInt8(bytes.readUInt8(top) & ~noErrors, top))).toBe('dirty');
  });

  test('exFAT', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('volume.raw');
    sparseFile(path, 16 * MIB);
    tool('mkfs.exfat', [path]);
    expect(await stateOf(path)).toBe('clean');
    patch(path, 0x6a, (bytes) => bytes.writeUInt8(2));
    expect(await stateOf(path)).toBe('dirty');
  });
});

describe('a disk whose parts are not to be trusted', () => {
  test('has a partition table and a file system at once, or partitions over each other', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('disk.raw');
    sparseFile(path, 32 * MIB);
    kindOf(EXT_KINDS, 'ext4 as it comes').format(path);
    tool('sfdisk', ['-q', '--wipe=never', '--no-reread', path], {
      input: 'label: dos\nstart=2048, size=8192, type=83\n',
    });
    expect(await stateOf(path)).toBe('damaged,damaged');
    sparseFile(path, 32 * MIB);
    tool('sfdisk', ['-q', path], { input: 'label: gpt\nstart=2048, size=8192\nstart=10240, size=8192\n' });
    expect(await stateOf(path)).toBe('unknown,unknown');
  });
});
