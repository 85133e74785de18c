/**
 * FAT12, FAT16, FAT32 ("Microsoft FAT Specification", 2005) and exFAT ("exFAT file system specification", 2019).
 * All numbers are little-endian.
 */
export const FAT_SIGNATURE = 0xaa55;
export const FAT_SIGNATURE_AT = 0x1fe;

/** Where the boot sector's fields lie (FAT specification, section 3.1). */
export const FAT_AT = {
  jump: 0,
  bytesPerSector: 0xb,
  sectorsPerCluster: 0xd,
  reservedSectors: 0xe,
  fatCount: 0x10,
  rootEntries: 0x11,
  totalSectors16: 0x13,
  media: 0x15,
  fatSectors16: 0x16,
  totalSectors32: 0x20,
  /** FAT12 and FAT16: Windows NT's flags, bit 0 dirty, bit 1 to be scanned. */
  flags16: 0x25,
  fatSectors32: 0x24,
  extendedFlags32: 0x28,
  rootCluster32: 0x2c,
  flags32: 0x41,
} as const;
/** BPB_ExtFlags: only the table with the number in the low bits is kept. */
export const FAT32_NOT_MIRRORED = 0x80;

/** From these numbers of clusters on a volume is FAT16 and FAT32 (3.5). */
export const FAT16_MIN_CLUSTERS = 4085;
export const FAT32_MIN_CLUSTERS = 65_525;
export const FAT32_MAX_CLUSTERS = 0x0fff_fff5;
export const DIRECTORY_ENTRY_BYTES = 32;

/** Entry 1 of the table (4.2): set when the volume was unmounted in order, and when no read or write has failed. */
export const FAT16_CLEAN = 0x8000;
export const FAT16_NO_ERRORS = 0x4000;
export const FAT32_CLEAN = 0x0800_0000;
export const FAT32_NO_ERRORS = 0x0400_0000;

export const EXFAT_NAME = 'EXFAT   ';
/** Where exFAT's boot sector's fields lie (section 3.1). */
export const EXFAT_AT = {
  name: 3,
  mustBeZero: 0xb,
  volumeLength: 0x48,
  fatOffset: 0x50,
  fatLength: 0x54,
  heapOffset: 0x58,
  clusterCount: 0x5c,
  rootCluster: 0x60,
  revision: 0x68,
  flags: 0x6a,
  sectorShift: 0x6c,
  clusterShift: 0x6d,
  fatCount: 0x6e,
} as const;
/** VolumeFlags (3.1.13). */
export const EXFAT_ACTIVE_FAT = 1;
export const EXFAT_DIRTY = 2;
export const EXFAT_MEDIA_FAILURE = 4;
/** An allocation bitmap's directory entry (7.1). */
export const EXFAT_BITMAP_ENTRY = 0x81;
export const EXFAT_ENTRY_AT = { type: 0, flags: 1, firstCluster: 0x14, dataLength: 0x18 } as const;
