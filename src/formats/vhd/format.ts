/**
 * The layout of a VHD file: constants and records, no I/O and no decisions. All integers are big-endian.
 * Source: Microsoft's Virtual Hard Disk Image Format Specification (2006), named by its structures; what is marked "as
 * Windows writes it" was seen in files by Windows 8 and later.
 */
export const SECTOR = 512;
export const KIB = 1024;
export const MIB = 1024 * 1024;
export const GIB = 2 ** 30;

/** Hard disk footer: the last sector of the file; dynamic and differencing files begin with a copy of it. */
export const FOOTER_COOKIE = 'conectix';
export const FOOTER_BYTES = 512;
/** Virtual PC before 2004 wrote a footer that lacks its last byte. */
export const SHORT_FOOTER_BYTES = 511;
export const FOOTER_AT = {
  cookie: 0,
  features: 8,
  version: 12,
  dataOffset: 16,
  timestamp: 24,
  creatorApplication: 28,
  creatorVersion: 32,
  creatorHost: 36,
  originalSize: 40,
  currentSize: 48,
  cylinders: 56,
  heads: 58,
  sectorsPerTrack: 59,
  diskType: 60,
  checksum: 64,
  uniqueId: 68,
  savedState: 84,
} as const;
/** This bit is always set. */
export const FEATURE_RESERVED = 2;
export const FORMAT_VERSION = 0x00010000;
export const DISK_TYPE = { fixed: 2, dynamic: 3, differencing: 4 } as const;
/** What a fixed disk has where others have the place of their dynamic header; also what ends such a chain. */
export const NO_OFFSET = 0xffffffffffffffffn;
/** Seconds between 1970 and 2000, where VHD times begin. */
export const EPOCH_SECONDS = Date.UTC(2000, 0, 1) / 1000;

/**
 * Virtual PC and QEMU give the disk's size by its geometry. Everybody else, so also whom nobody knows, gives it by the
 * size field.
 */
export const CREATORS_BY_GEOMETRY: readonly string[] = ['vpc ', 'qemu'];
/** Windows' own marks, as it writes them: with them, Windows and QEMU take the exact size and not the geometry's. */
export const CREATOR_APPLICATION = 'win ';
export const CREATOR_VERSION = 0x000a0000;
export const CREATOR_HOST = 'Wi2k';

export interface Geometry {
  readonly cylinders: number;
  readonly heads: number;
  readonly sectorsPerTrack: number;
}

/** The largest geometry: from this size on it says nothing. */
export const MAX_CYLINDERS = 65_535;
export const MAX_HEADS = 16;
export const MAX_SECTORS_PER_TRACK = 255;

/** Dynamic disk header: 1024 bytes, at the footer's data offset. */
export const HEADER_COOKIE = 'cxsparse';
export const HEADER_BYTES = 1024;
export const HEADER_AT = {
  cookie: 0,
  dataOffset: 8,
  tableOffset: 16,
  version: 24,
  maxTableEntries: 28,
  blockSize: 32,
  checksum: 36,
  parentUniqueId: 40,
  parentTimestamp: 56,
  parentName: 64,
  locators: 576,
} as const;
export const PARENT_NAME_BYTES = 512;
export const LOCATOR_COUNT = 8;
export const LOCATOR_ENTRY_BYTES = 24;
export const LOCATOR_AT = { platform: 0, space: 4, length: 8, offset: 16 } as const;

/** Parent locator platforms. The two that Windows writes hold UTF-16LE; the older Windows ones hold the system's 8-bit text. */
export const PLATFORM = {
  none: '\0\0\0\0',
  absolute: 'W2ku',
  relative: 'W2ru',
  oldAbsolute: 'Wi2k',
  oldRelative: 'Wi2r',
  macUrl: 'MacX',
} as const;
/** No path is longer: 32 Ki UTF-16 units. */
export const MAX_LOCATOR_BYTES = 64 * KIB;

/** Block allocation table: the sector of each block's sector bitmap, which the block's data follow. */
export const BAT_ENTRY_BYTES = 4;
export const UNUSED_ENTRY = 0xffffffff;

/** 2040 GiB: the most that VHD's 32-bit sector numbers are used for. */
export const MAX_VIRTUAL_SIZE = 2040 * GIB;
/** As many blocks as the largest disk has with the smallest blocks that Windows makes. */
export const MAX_TABLE_ENTRIES = MAX_VIRTUAL_SIZE / (512 * KIB);
export const MIN_READ_BLOCK_SIZE = 4 * KIB;
export const MAX_READ_BLOCK_SIZE = 256 * MIB;
/** What VirtDisk makes. */
export const NEW_BLOCK_SIZES: readonly number[] = [512 * KIB, 2 * MIB];

/** As Windows writes them: the header behind the footer's copy, the table behind it, payload in whole pages of 4 KiB. */
export const NEW_FILE = {
  headerOffset: FOOTER_BYTES,
  tableOffset: FOOTER_BYTES + HEADER_BYTES,
  blockSize: 2 * MIB,
} as const;
export const PAYLOAD_ALIGNMENT = 4 * KIB;
