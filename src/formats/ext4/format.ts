/**
 * ext2, ext3 and ext4 on disk; source: the kernel's documentation of ext4's data structures
 * (Documentation/filesystems/ext4). All numbers are little-endian.
 */
export const SUPERBLOCK_OFFSET = 1024;
export const SUPERBLOCK_BYTES = 1024;
export const EXT_MAGIC = 0xef53;

/** Where the superblock's fields lie ("Super Block"). */
export const SUPER_AT = {
  blocksCountLow: 0x4,
  freeBlocksLow: 0xc,
  firstDataBlock: 0x14,
  logBlockSize: 0x18,
  logClusterSize: 0x1c,
  blocksPerGroup: 0x20,
  clustersPerGroup: 0x24,
  inodesPerGroup: 0x28,
  magic: 0x38,
  state: 0x3a,
  revision: 0x4c,
  inodeSize: 0x58,
  compatible: 0x5c,
  incompatible: 0x60,
  readOnlyCompatible: 0x64,
  uuid: 0x68,
  reservedGdtBlocks: 0xce,
  lastOrphan: 0xe8,
  descriptorSize: 0xfe,
  firstMetaGroup: 0x104,
  blocksCountHigh: 0x150,
  checksumType: 0x175,
  errorCount: 0x194,
  backupGroups: 0x24c,
  checksumSeed: 0x270,
  checksum: 0x3fc,
} as const;

/** s_state. */
export const STATE_CLEAN = 1;
export const STATE_ERRORS = 2;
export const STATE_ORPHANS = 4;

/** s_feature_compat. */
export const COMPAT = { hasJournal: 0x4, sparseSuper2: 0x200 } as const;

/** s_feature_incompat. */
export const INCOMPAT = {
  fileType: 0x2,
  recover: 0x4,
  journalDevice: 0x8,
  metaGroups: 0x10,
  extents: 0x40,
  wide: 0x80,
  multiMount: 0x100,
  flexibleGroups: 0x200,
  attributeInodes: 0x400,
  checksumSeed: 0x2000,
  largeDirectories: 0x4000,
  inlineData: 0x8000,
  encryption: 0x1_0000,
  caseFolding: 0x2_0000,
} as const;

/** s_feature_ro_compat. */
export const RO_COMPAT = {
  sparseSuper: 0x1,
  largeFile: 0x2,
  btreeDirectories: 0x4,
  hugeFile: 0x8,
  descriptorChecksum: 0x10,
  manyLinks: 0x20,
  extraInodeSize: 0x40,
  quota: 0x100,
  bigAllocation: 0x200,
  metadataChecksum: 0x400,
  readOnly: 0x1000,
  project: 0x2000,
  verity: 0x8000,
  orphanPresent: 0x1_0000,
} as const;

/** Where a block group descriptor's fields lie ("Block Group Descriptors"). */
export const GROUP_AT = {
  blockBitmapLow: 0x0,
  inodeBitmapLow: 0x4,
  inodeTableLow: 0x8,
  freeBlocksLow: 0xc,
  flags: 0x12,
  blockBitmapChecksumLow: 0x18,
  checksum: 0x1e,
  blockBitmapHigh: 0x20,
  inodeBitmapHigh: 0x24,
  inodeTableHigh: 0x28,
  freeBlocksHigh: 0x2c,
  blockBitmapChecksumHigh: 0x38,
} as const;

export const GROUP_BYTES = 32;
/** A descriptor of a 64-bit file system. */
export const WIDE_GROUP_BYTES = 64;
/** bg_flags: the block bitmap was never written. */
export const GROUP_BLOCKS_UNINITIALIZED = 2;
