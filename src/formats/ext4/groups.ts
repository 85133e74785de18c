import { crc32c } from '../../binary/index.ts';
import type { VolumeBytes } from '../file-system.ts';
import { corrupt } from './corruption.ts';
import { crc16 } from './crc16.ts';
import {
  COMPAT,
  GROUP_AT,
  GROUP_BLOCKS_UNINITIALIZED,
  INCOMPAT,
  RO_COMPAT,
  SUPERBLOCK_OFFSET,
  WIDE_GROUP_BYTES,
} from './format.ts';
import { hasBit, type Superblock } from './superblock.ts';

/** Descriptors of more bytes are refused: 64 TiB in groups of 128 MiB have 32 MiB of them. */
const MAX_DESCRIPTOR_BYTES = 64 * 1024 * 1024;

/** What a descriptor says of its group that matters for free space. Blocks are numbers of the whole file system. */
export interface BlockGroup {
  readonly blockBitmap: number;
  readonly inodeBitmap: number;
  readonly inodeTable: number;
  readonly freeClusters: number;
  readonly isUninitialized: boolean;
  readonly bitmapChecksum: number;
}

/** Reads and checks descriptors, one at a time, from the table that is read a block at a time. */
export class GroupTable {
  readonly #volume: VolumeBytes;
  readonly #super: Superblock;
  readonly #perBlock: number;
  #block: Uint8Array | undefined;
  #blockNumber = -1;

  /** @throws HvError `corrupt`: more groups than any file system has */
  constructor(volume: VolumeBytes, superblock: Superblock) {
    this.#volume = volume;
    this.#super = superblock;
    this.#perBlock = superblock.blockSizeBytes / superblock.descriptorBytes;
    if (superblock.groups * superblock.descriptorBytes > MAX_DESCRIPTOR_BYTES) {
      throw corrupt('super-group-size', SUPERBLOCK_OFFSET, superblock.groups);
    }
  }

  /** The blocks of the table, where they come one after the other behind the superblock. */
  get #tableBlocks(): number {
    return Math.ceil(this.#super.groups / this.#perBlock);
  }

  /** The first block of a group. */
  firstBlock(group: number): number {
    return this.#super.firstDataBlock + group * this.#super.blocksPerGroup;
  }

  /** The blocks that a group has: the last one may be shorter. */
  blockCount(group: number): number {
    return Math.min(this.#super.blocksPerGroup, this.#super.blocks - this.firstBlock(group));
  }

  /** How many blocks at a group's start hold copies of the superblock and of the descriptors, or are kept for them. */
  baseBlocks(group: number): number {
    const { incompatible, firstMetaGroup, reservedGdtBlocks, blockSizeBytes, firstDataBlock } = this.#super;
    const hasSuper = this.#hasSuper(group);
    const hasMetaGroups = hasBit(incompatible, INCOMPAT.metaGroups);
    // Blocks of 1 KiB leave the first one to boot code even where it counts (with clusters).
    const before = group === 0 && blockSizeBytes === 1024 && firstDataBlock === 0 ? 1 : 0;
    if (!hasMetaGroups || group < firstMetaGroup * this.#perBlock) {
      const tableBlocks = hasMetaGroups ? firstMetaGroup : this.#tableBlocks;
      return hasSuper ? before + 1 + tableBlocks + reservedGdtBlocks : 0;
    }
    const inMeta = group % this.#perBlock;
    const hasTable = inMeta === 0 || inMeta === 1 || inMeta === this.#perBlock - 1;
    return (hasSuper ? before + 1 : 0) + (hasTable ? 1 : 0);
  }

  /** The blocks that a group's inode table fills. */
  get inodeTableBlocks(): number {
    const { inodesPerGroup, inodeSizeBytes, blockSizeBytes } = this.#super;
    return Math.ceil((inodesPerGroup * inodeSizeBytes) / blockSizeBytes);
  }

  /** @throws HvError `corrupt` */
  group(number: number): BlockGroup {
    const { descriptorBytes, blockSizeBytes, blocks, firstDataBlock } = this.#super;
    const tableBlock = Math.floor(number / this.#perBlock);
    if (!this.#block || this.#blockNumber !== tableBlock) {
      this.#block = this.#volume.read(this.#placeOf(tableBlock) * blockSizeBytes, blockSizeBytes);
      this.#blockNumber = tableBlock;
    }
    const at = (number % this.#perBlock) * descriptorBytes;
    const bytes = this.#block.subarray(at, at + descriptorBytes);
    const view = new DataView(bytes.buffer, bytes.byteOffset, descriptorBytes);
    const offset = this.#placeOf(tableBlock) * blockSizeBytes + at;
    this.#mustHaveChecksum(number, bytes, view, offset);
    const isWide = descriptorBytes >= WIDE_GROUP_BYTES;
    const wide = (low: number, high: number): number =>
      view.getUint32(low, true) + (isWide ? view.getUint32(high, true) * 2 ** 32 : 0);
    const wide16 = (low: number, high: number): number =>
      view.getUint16(low, true) + (isWide ? view.getUint16(high, true) * 2 ** 16 : 0);
    const place = (low: number, high: number, count: number): number => {
      const block = wide(low, high);
      if (block <= firstDataBlock || block + count > blocks) throw corrupt('group-place', offset + low, block);
      return block;
    };
    const { readOnlyCompatible } = this.#super;
    const mayBeUninitialized = hasBit(readOnlyCompatible, RO_COMPAT.descriptorChecksum | RO_COMPAT.metadataChecksum);
    return {
      blockBitmap: place(GROUP_AT.blockBitmapLow, GROUP_AT.blockBitmapHigh, 1),
      inodeBitmap: place(GROUP_AT.inodeBitmapLow, GROUP_AT.inodeBitmapHigh, 1),
      inodeTable: place(GROUP_AT.inodeTableLow, GROUP_AT.inodeTableHigh, this.inodeTableBlocks),
      freeClusters: wide16(GROUP_AT.freeBlocksLow, GROUP_AT.freeBlocksHigh),
      isUninitialized: mayBeUninitialized && hasBit(view.getUint16(GROUP_AT.flags, true), GROUP_BLOCKS_UNINITIALIZED),
      bitmapChecksum: wide16(GROUP_AT.blockBitmapChecksumLow, GROUP_AT.blockBitmapChecksumHigh),
    };
  }

  /** The block that holds a part of the table: behind the superblock, or at the start of the groups that it speaks of. */
  #placeOf(tableBlock: number): number {
    const { incompatible, firstMetaGroup, blockSizeBytes } = this.#super;
    const superBlock = Math.floor(SUPERBLOCK_OFFSET / blockSizeBytes);
    if (!hasBit(incompatible, INCOMPAT.metaGroups) || tableBlock < firstMetaGroup) return superBlock + 1 + tableBlock;
    const group = tableBlock * this.#perBlock;
    if (group === 0) return superBlock + 1;
    return this.firstBlock(group) + (this.#hasSuper(group) ? 1 : 0);
  }

  #hasSuper(group: number): boolean {
    const { compatible, readOnlyCompatible, backupGroups } = this.#super;
    if (group === 0) return true;
    if (hasBit(compatible, COMPAT.sparseSuper2)) return backupGroups.includes(group);
    if (group === 1 || !hasBit(readOnlyCompatible, RO_COMPAT.sparseSuper)) return true;
    return [3, 5, 7].some((base) => {
      let power = base;
      while (power < group) power *= base;
      return power === group;
    });
  }

  #mustHaveChecksum(number: number, bytes: Uint8Array, view: DataView, offset: number): void {
    const { readOnlyCompatible, checksumSeed, uuid } = this.#super;
    const stored = view.getUint16(GROUP_AT.checksum, true);
    const groupBytes = new Uint8Array(4);
    new DataView(groupBytes.buffer).setUint32(0, number, true);
    const before = bytes.subarray(0, GROUP_AT.checksum);
    const after = bytes.subarray(GROUP_AT.checksum + 2);
    if (hasBit(readOnlyCompatible, RO_COMPAT.metadataChecksum)) {
      const whole = [groupBytes, before, new Uint8Array(2), after];
      if ((checksumOf(checksumSeed, whole) & 0xffff) !== stored) throw corrupt('group-checksum', offset, stored);
    } else if (hasBit(readOnlyCompatible, RO_COMPAT.descriptorChecksum)) {
      const whole = [uuid, groupBytes, before, after];
      const found = whole.reduce((register, part) => crc16(part, register), 0xffff);
      if (found !== stored) throw corrupt('group-checksum', offset, stored);
    }
  }
}

/** The checksum of ext4's metadata: CRC-32C from a seed on, without the usual inversions. */
export function checksumOf(seed: number, parts: readonly Uint8Array[]): number {
  const crc = parts.reduce((value, part) => crc32c(part, 0, part.length, value), ~seed >>> 0);
  return ~crc >>> 0;
}
