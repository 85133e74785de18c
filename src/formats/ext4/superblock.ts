import { crc32c } from '../../binary/index.ts';
import type { FileSystemKind, VolumeBytes } from '../file-system.ts';
import { corrupt } from './corruption.ts';
import {
  COMPAT,
  EXT_MAGIC,
  GROUP_BYTES,
  INCOMPAT,
  RO_COMPAT,
  SUPER_AT,
  SUPERBLOCK_BYTES,
  SUPERBLOCK_OFFSET,
  WIDE_GROUP_BYTES,
} from './format.ts';

const MIN_BLOCK_BYTES = 1024;
const MAX_BLOCK_BYTES = 65_536;
/** 1 EiB in blocks of 4 KiB; the product with a block size is exact below 2^53. */
const MAX_SIZE_BYTES = 2 ** 52;

/** What the superblock says, checked against itself and the volume's size. */
export interface Superblock {
  readonly kind: FileSystemKind;
  readonly blockSizeBytes: number;
  readonly blocks: number;
  readonly firstDataBlock: number;
  readonly blocksPerGroup: number;
  readonly blocksPerCluster: number;
  readonly clustersPerGroup: number;
  readonly inodesPerGroup: number;
  readonly inodeSizeBytes: number;
  readonly groups: number;
  readonly descriptorBytes: number;
  readonly reservedGdtBlocks: number;
  readonly firstMetaGroup: number;
  readonly backupGroups: readonly [number, number];
  readonly state: number;
  readonly errorCount: number;
  readonly lastOrphan: number;
  readonly compatible: number;
  readonly incompatible: number;
  readonly readOnlyCompatible: number;
  readonly uuid: Uint8Array;
  /** Where checksums of metadata start: the register, not inverted. */
  readonly checksumSeed: number;
}

/** Whether the superblock's magic is there. */
export function hasExtMagic(volume: VolumeBytes): boolean {
  const magic = volume.read(SUPERBLOCK_OFFSET + SUPER_AT.magic, 2);
  return (magic[0] ?? 0) + (magic[1] ?? 0) * 256 === EXT_MAGIC;
}

/** Bitwise, as unsigned numbers: whether any of the bits is set. */
export function hasBit(flags: number, bits: number): boolean {
  return (flags & bits) !== 0;
}

/** @throws HvError `corrupt`; a volume without the magic must not come here */
export function readSuperblock(volume: VolumeBytes): Superblock {
  const bytes = volume.read(SUPERBLOCK_OFFSET, SUPERBLOCK_BYTES);
  const view = new DataView(bytes.buffer, bytes.byteOffset, SUPERBLOCK_BYTES);
  const u16 = (at: number): number => view.getUint16(at, true);
  const u32 = (at: number): number => view.getUint32(at, true);
  const fail = (reason: Parameters<typeof corrupt>[0], at: number, value: number): Error =>
    corrupt(reason, SUPERBLOCK_OFFSET + at, value);

  const isDynamic = u32(SUPER_AT.revision) >= 1;
  const compatible = isDynamic ? u32(SUPER_AT.compatible) : 0;
  const incompatible = isDynamic ? u32(SUPER_AT.incompatible) : 0;
  const readOnlyCompatible = isDynamic ? u32(SUPER_AT.readOnlyCompatible) : 0;
  if (hasBit(readOnlyCompatible, RO_COMPAT.metadataChecksum)) {
    const stored = u32(SUPER_AT.checksum);
    if (~crc32c(bytes, 0, SUPER_AT.checksum) >>> 0 !== stored) throw fail('super-checksum', SUPER_AT.checksum, stored);
  }
  const logBlock = u32(SUPER_AT.logBlockSize);
  const blockSizeBytes = logBlock <= 6 ? MIN_BLOCK_BYTES * 2 ** logBlock : 0;
  if (blockSizeBytes === 0 || blockSizeBytes > MAX_BLOCK_BYTES) {
    throw fail('super-block-size', SUPER_AT.logBlockSize, logBlock);
  }
  const blocksPerGroup = u32(SUPER_AT.blocksPerGroup);
  const isBigAllocation = hasBit(readOnlyCompatible, RO_COMPAT.bigAllocation);
  const logCluster = isBigAllocation ? u32(SUPER_AT.logClusterSize) - logBlock : 0;
  if (logCluster < 0 || logCluster > 16) throw fail('super-cluster-size', SUPER_AT.logClusterSize, logCluster);
  const blocksPerCluster = 2 ** logCluster;
  const clustersPerGroup = isBigAllocation ? u32(SUPER_AT.clustersPerGroup) : blocksPerGroup;
  if (
    clustersPerGroup === 0 ||
    clustersPerGroup > blockSizeBytes * 8 ||
    clustersPerGroup % 8 !== 0 ||
    clustersPerGroup * blocksPerCluster !== blocksPerGroup
  ) {
    throw fail('super-group-size', SUPER_AT.blocksPerGroup, blocksPerGroup);
  }
  const isWide = hasBit(incompatible, INCOMPAT.wide);
  const descriptorBytes = isWide ? u16(SUPER_AT.descriptorSize) : GROUP_BYTES;
  const isPower = descriptorBytes > 0 && (descriptorBytes & (descriptorBytes - 1)) === 0;
  if (!isPower || descriptorBytes > MIN_BLOCK_BYTES || (isWide && descriptorBytes < WIDE_GROUP_BYTES)) {
    throw fail('super-descriptor-size', SUPER_AT.descriptorSize, descriptorBytes);
  }
  const firstDataBlock = u32(SUPER_AT.firstDataBlock);
  // Blocks of 1 KiB leave block 0 to boot code, except where clusters are larger than blocks.
  const isFirstSound =
    firstDataBlock === 0 || (firstDataBlock === 1 && blockSizeBytes === MIN_BLOCK_BYTES && !isBigAllocation);
  if (!isFirstSound) throw fail('super-first-block', SUPER_AT.firstDataBlock, firstDataBlock);
  const blocks = u32(SUPER_AT.blocksCountLow) + (isWide ? u32(SUPER_AT.blocksCountHigh) * 2 ** 32 : 0);
  const sizeBytes = blocks * blockSizeBytes;
  if (blocks <= firstDataBlock || sizeBytes > MAX_SIZE_BYTES) {
    throw fail('super-size', SUPER_AT.blocksCountLow, blocks);
  }
  const inodesPerGroup = u32(SUPER_AT.inodesPerGroup);
  const inodeSizeBytes = isDynamic ? u16(SUPER_AT.inodeSize) : 128;
  if (
    inodesPerGroup === 0 ||
    inodesPerGroup > blockSizeBytes * 8 ||
    inodeSizeBytes < 128 ||
    inodeSizeBytes > blockSizeBytes
  ) {
    throw fail('super-inodes', SUPER_AT.inodesPerGroup, inodesPerGroup);
  }
  const reservedGdtBlocks = u16(SUPER_AT.reservedGdtBlocks);
  if (reservedGdtBlocks > blockSizeBytes / 4) {
    throw fail('super-reserved-blocks', SUPER_AT.reservedGdtBlocks, reservedGdtBlocks);
  }
  const uuid = bytes.slice(SUPER_AT.uuid, SUPER_AT.uuid + 16);
  const hasSeed = hasBit(incompatible, INCOMPAT.checksumSeed);
  return {
    kind: kindOf(compatible, incompatible, readOnlyCompatible),
    blockSizeBytes,
    blocks,
    firstDataBlock,
    blocksPerGroup,
    blocksPerCluster,
    clustersPerGroup,
    inodesPerGroup,
    inodeSizeBytes,
    groups: Math.ceil((blocks - firstDataBlock) / blocksPerGroup),
    descriptorBytes,
    reservedGdtBlocks,
    firstMetaGroup: u32(SUPER_AT.firstMetaGroup),
    backupGroups: [u32(SUPER_AT.backupGroups), u32(SUPER_AT.backupGroups + 4)],
    state: u16(SUPER_AT.state),
    errorCount: u32(SUPER_AT.errorCount),
    lastOrphan: u32(SUPER_AT.lastOrphan),
    compatible,
    incompatible,
    readOnlyCompatible,
    uuid,
    checksumSeed: hasSeed ? u32(SUPER_AT.checksumSeed) : ~crc32c(uuid) >>> 0,
  };
}

/** What people call it: ext4 is what has any of its features, ext3 what has a journal. */
function kindOf(compatible: number, incompatible: number, readOnlyCompatible: number): FileSystemKind {
  const ext3Incompatible = INCOMPAT.fileType | INCOMPAT.recover | INCOMPAT.journalDevice | INCOMPAT.metaGroups;
  const ext3ReadOnly = RO_COMPAT.sparseSuper | RO_COMPAT.largeFile | RO_COMPAT.btreeDirectories;
  if (hasBit(incompatible, ~ext3Incompatible) || hasBit(readOnlyCompatible, ~ext3ReadOnly)) return 'ext4';
  return hasBit(compatible, COMPAT.hasJournal) ? 'ext3' : 'ext2';
}
