import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { seededRandom } from '../../src/store/testing/fault-store.ts';
import { KIB, sparseFile, tool, toolBytes } from './tools.ts';

/** A kind of volume that the tests make with the system's own tools, without mounting it. */
export interface VolumeKind {
  readonly title: string;
  readonly kind: string;
  readonly sizeBytes: number;
  format(path: string): void;
  /** Puts a file into it. */
  put(path: string, from: string, name: string): void;
  remove(path: string, name: string): void;
  get(path: string, name: string): Buffer;
  /** Throws when the file system's own check is not content. */
  check(path: string): void;
  /** How many units are free, by a tool that is not hv. */
  freeUnits(path: string): number;
}

const MIB = 1024 * KIB;

function ext(title: string, kind: string, sizeMib: number, args: readonly string[]): VolumeKind {
  return {
    title,
    kind,
    sizeBytes: sizeMib * MIB,
    format: (path) => tool('mkfs.ext4', ['-q', '-F', '-E', 'nodiscard', ...args, path]),
    put: (path, from, name) => tool('debugfs', ['-w', '-R', `write ${from} ${name}`, path]),
    remove: (path, name) => tool('debugfs', ['-w', '-R', `rm ${name}`, path]),
    get: (path, name) => toolBytes('debugfs', ['-R', `cat ${name}`, path]),
    check: (path) => tool('e2fsck', ['-fn', path]),
    freeUnits: (path) => extFreeBlocks(path).reduce((sum, [first, last]) => sum + last - first + 1, 0),
  };
}

/** dumpe2fs's list of free blocks: first and last of each run, neighbours joined. */
export function extFreeBlocks(path: string): [first: number, last: number][] {
  const runs: [number, number][] = [];
  const said = tool('dumpe2fs', [path]);
  const number = (name: string): number => Number(new RegExp(`^${name}: +(\\d+)$`, 'm').exec(said)?.[1]);
  // Of clusters it names the first block of the last one.
  const perCluster = (number('Cluster size') || number('Block size')) / number('Block size');
  for (const line of said.matchAll(/^ {2}Free blocks: (.*)$/gm)) {
    for (const run of (line[1] ?? '').split(', ').filter((text) => text !== '')) {
      const [first = 0, lastStart = first] = run.split('-').map(Number);
      const last = lastStart + perCluster - 1;
      const before = runs.at(-1);
      if (before && before[1] + 1 === first) before[1] = last;
      else runs.push([first, last]);
    }
  }
  return runs;
}

function ntfs(title: string, sizeMib: number, args: readonly string[]): VolumeKind {
  return {
    title,
    kind: 'ntfs',
    sizeBytes: sizeMib * MIB,
    format: (path) => tool('mkfs.ntfs', ['-F', '-f', '-q', ...args, path]),
    put: (path, from, name) => tool('ntfscp', ['-q', path, from, name]),
    remove: () => {
      throw new Error('no tool removes a file from NTFS without mounting it');
    },
    get: (path, name) => toolBytes('ntfscat', [path, name]),
    check: (path) => tool('ntfsfix', ['-n', path]),
    freeUnits: (path) => Number(/Free Clusters: (\d+)/.exec(tool('ntfsinfo', ['-m', path]))?.[1]),
  };
}

function fat(bits: 12 | 16 | 32, sizeMib: number, args: readonly string[]): VolumeKind {
  return {
    title: `FAT${bits} ${args.join(' ')}`.trim(),
    kind: `fat${bits}`,
    sizeBytes: sizeMib * MIB,
    format: (path) => tool('mkfs.fat', ['-F', String(bits), ...args, path]),
    put: (path, from, name) => tool('mcopy', ['-i', path, from, `::${name}`]),
    remove: (path, name) => tool('mdel', ['-i', path, `::${name}`]),
    get: (path, name) => toolBytes('mtype', ['-i', path, `::${name}`]),
    check: (path) => tool('fsck.fat', ['-n', path]),
    freeUnits: (path) => {
      const [, used, all] = /(\d+)\/(\d+) clusters/.exec(tool('fsck.fat', ['-n', path])) ?? [];
      return Number(all) - Number(used);
    },
  };
}

export const EXT_KINDS: readonly VolumeKind[] = [
  ext('ext4 as it comes', 'ext4', 96, []),
  ext('ext4 of 1 KiB blocks', 'ext4', 48, ['-b', '1024']),
  ext('ext4 without 64bit', 'ext4', 64, ['-O', '^64bit']),
  ext('ext4 without flex_bg', 'ext4', 160, ['-O', '^flex_bg', '-b', '1024']),
  ext('ext4 with bigalloc', 'ext4', 192, ['-O', 'bigalloc', '-C', '16384']),
  ext('ext4 with bigalloc of 1 KiB blocks', 'ext4', 96, ['-O', 'bigalloc', '-b', '1024', '-C', '8192']),
  ext('ext4 without metadata_csum', 'ext4', 64, ['-O', '^metadata_csum']),
  ext('ext4 with uninit_bg', 'ext4', 64, ['-O', '^metadata_csum,uninit_bg', '-b', '1024']),
  ext('ext4 with meta_bg', 'ext4', 96, ['-O', 'meta_bg,^resize_inode', '-b', '1024']),
  ext('ext4 with sparse_super2', 'ext4', 96, ['-O', 'sparse_super2', '-b', '1024']),
  ext('ext4 with a checksum seed', 'ext4', 64, ['-O', 'metadata_csum_seed']),
  ext('ext4 that checks no group ahead', 'ext4', 300, ['-b', '1024', '-E', 'lazy_itable_init=1,nodiscard']),
  ext('ext3', 'ext3', 64, ['-t', 'ext3']),
  ext('ext2', 'ext2', 64, ['-t', 'ext2', '-b', '2048']),
];

export const NTFS_KINDS: readonly VolumeKind[] = [
  ntfs('NTFS as it comes', 64, []),
  ntfs('NTFS of 512 byte clusters', 24, ['-c', '512']),
  ntfs('NTFS of 64 KiB clusters', 128, ['-c', '65536']),
];

export const FAT_KINDS: readonly VolumeKind[] = [
  fat(12, 8, []),
  fat(16, 64, []),
  fat(16, 40, ['-s', '2', '-f', '1']),
  fat(32, 80, ['-s', '1']),
  fat(32, 600, ['-s', '8']),
];

export const KINDS: readonly VolumeKind[] = [...EXT_KINDS, ...NTFS_KINDS, ...FAT_KINDS];

export interface FilledFile {
  readonly name: string;
  readonly content: Buffer;
}

/** Bytes of which no piece is zero. */
export function noise(length: number, seed: number): Buffer {
  const random = seededRandom(seed);
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at += 4)
    bytes.writeUInt32LE((1 + Math.floor(random() * 0xfffffffe)) >>> 0, Math.min(at, length - 4));
  return bytes;
}

/**
 * Makes a volume with files of many sizes in it, some of them removed again where a tool can.
 * @param isUsed what is free holds something then, as on a disk that had another life
 * @returns the files that stay
 */
export function makeVolume(kind: VolumeKind, path: string, isUsed = false): FilledFile[] {
  sparseFile(path, kind.sizeBytes);
  if (isUsed) {
    const piece = noise(MIB, 99);
    const fd = openSync(path, 'r+');
    for (let at = 0; at < kind.sizeBytes; at += MIB) writeSync(fd, piece, 0, MIB, at);
    closeSync(fd);
  }
  kind.format(path);
  const files: FilledFile[] = [];
  const sizes = [3, 700 * KIB, 65_536, 1_300_000, 12_345, 2 * MIB];
  const source = join(dirname(path), 'source.bin');
  for (const [index, size] of sizes.entries()) {
    const content = noise(Math.max(4, size), index + 1);
    writeFileSync(source, content);
    const name = `file${index}.bin`;
    kind.put(path, source, name);
    files.push({ name, content });
  }
  if (kind.kind === 'ntfs') return files;
  for (const index of [1, 3]) kind.remove(path, `file${index}.bin`);
  return files.filter((_file, index) => index !== 1 && index !== 3);
}
