/**
 * NTFS on disk. No specification of Microsoft's covers it whole; what is here is common knowledge of every reader of it:
 * the boot sector, records of the master file table with their update sequences, attributes and runs. Little-endian.
 */
export const NTFS_NAME = 'NTFS    ';
export const NTFS_SECTOR_SIGNATURE = 0xaa55;

/** Where the boot sector's fields lie. */
export const BOOT_AT = {
  name: 0x3,
  bytesPerSector: 0xb,
  sectorsPerCluster: 0xd,
  totalSectors: 0x28,
  mftCluster: 0x30,
  mftMirrorCluster: 0x38,
  recordSize: 0x40,
  indexBlockSize: 0x44,
  signature: 0x1fe,
} as const;

/** Numbers of the records that every volume has. */
export const RECORD = { mft: 0, mftMirror: 1, logFile: 2, volume: 3, root: 5, bitmap: 6 } as const;

/** Where a record's fields lie. Update sequence: two bytes at the end of each 512, kept aside. */
export const RECORD_AT = {
  magic: 0,
  updateOffset: 4,
  updateCount: 6,
  firstAttribute: 0x14,
  flags: 0x16,
  usedBytes: 0x18,
} as const;
export const FILE_MAGIC = 'FILE';
export const INDEX_MAGIC = 'INDX';
export const RESTART_MAGIC = 'RSTR';
export const UPDATE_STRIDE = 512;
export const RECORD_IN_USE = 1;

/** Where an attribute's fields lie. */
export const ATTRIBUTE_AT = {
  type: 0,
  length: 4,
  isNonResident: 8,
  nameLength: 9,
  nameOffset: 0xa,
  flags: 0xc,
  valueLength: 0x10,
  valueOffset: 0x14,
  lowestVcn: 0x10,
  highestVcn: 0x18,
  runsOffset: 0x20,
  dataSize: 0x30,
  initializedSize: 0x38,
} as const;

export const ATTRIBUTE = {
  list: 0x20,
  volumeInformation: 0x70,
  data: 0x80,
  indexRoot: 0x90,
  indexAllocation: 0xa0,
  end: 0xffff_ffff,
} as const;
/** Compressed, encrypted: contents that runs alone do not tell. */
export const ATTRIBUTE_TRANSFORMED = 0x40ff;
export const DIRECTORY_INDEX = '$I30';

/** $VOLUME_INFORMATION: its flags, and those that say that something is to be done before the volume is whole. */
export const VOLUME_FLAGS_AT = 0xa;
export const VOLUME_DIRTY = 0x1;
export const VOLUME_MUST_RESIZE_LOG = 0x2;
export const VOLUME_MUST_UPGRADE = 0x4;
export const VOLUME_CHECK_UNDERWAY = 0x4000;

/** Where a restart page's fields lie, and those of the restart area in it. */
export const RESTART_AT = { systemPageSize: 0x10, areaOffset: 0x18, minor: 0x1a, major: 0x1c } as const;
export const RESTART_AREA_AT = { currentLsn: 0, clientInUse: 0xc, flags: 0xe } as const;
export const RESTART_AREA_BYTES = 0x30;
export const NO_CLIENT = 0xffff;
export const RESTART_VOLUME_IS_CLEAN = 2;
