/**
 * The layout of a VHDX file: constants and records, no I/O and no decisions. All integers are little-endian.
 * Source: [MS-VHDX] sections 2.2 to 2.6; the places and sizes under "as Windows writes them" were seen in files by Windows.
 */
export const KIB = 1024;
export const MIB = 1024 * 1024;
export const TIB = 2 ** 40;

/** 2.2.1 File type identifier, at 0: "vhdxfile", then the creator in UTF-16 (512 bytes, informational). */
export const FILE_SIGNATURE = 'vhdxfile';
export const CREATOR_OFFSET = 8;
export const CREATOR_BYTES = 512;

/** 2.2.2 Headers: two copies, 4 KiB each, checksum over all of it. */
export const HEADER_SIGNATURE = 0x64616568; // "head"
export const HEADER_OFFSETS = [64 * KIB, 128 * KIB] as const;
export const HEADER_BYTES = 4 * KIB;
export const HEADER_AT = {
  signature: 0,
  checksum: 4,
  sequenceNumber: 8,
  fileWriteGuid: 16,
  dataWriteGuid: 32,
  logGuid: 48,
  logVersion: 64,
  version: 66,
  logLength: 68,
  logOffset: 72,
} as const;
export const FORMAT_VERSION = 1;
export const LOG_VERSION = 0;

export interface VhdxHeader {
  readonly sequenceNumber: bigint;
  /** Changes before the first change of the file in a session. */
  readonly fileWriteGuid: string;
  /** Changes before the first change that a user of the disk can see; a child's locator holds it. */
  readonly dataWriteGuid: string;
  /** All zeros: the log is empty. */
  readonly logGuid: string;
  readonly logVersion: number;
  readonly version: number;
  readonly logLength: number;
  readonly logOffset: number;
}

/** 2.2.3 Region tables: two copies, 64 KiB each, changed through the log only. */
export const REGION_SIGNATURE = 0x69676572; // "regi"
export const REGION_TABLE_OFFSETS = [192 * KIB, 256 * KIB] as const;
export const REGION_TABLE_BYTES = 64 * KIB;
export const REGION_ENTRIES_AT = 16;
export const REGION_ENTRY_BYTES = 32;
export const REGION_ENTRY_AT = { guid: 0, fileOffset: 16, length: 24, required: 28 } as const;
export const MAX_TABLE_ENTRIES = 2047;
export const BAT_REGION = '2dc27766-f623-4200-9d64-115e9bfd4a08';
export const METADATA_REGION = '8b7ca206-4790-4b9a-b8fe-575f050f886e';

export interface VhdxRegion {
  readonly guid: string;
  readonly fileOffset: number;
  readonly length: number;
  readonly required: boolean;
}

/** The file's first MiB holds identifier, headers and region tables; everything else is MiB-aligned after it. */
export const FIRST_OBJECT_OFFSET = MIB;
/** Nothing that the log writes may lie before the region tables: the log must not change identifier or headers. */
export const FIRST_LOGGED_OFFSET = REGION_TABLE_OFFSETS[0];

/** 2.3 Log. */
export const LOG_SECTOR = 4 * KIB;
export const ENTRY_SIGNATURE = 0x65676f6c; // "loge"
export const ZERO_DESCRIPTOR_SIGNATURE = 0x6f72657a; // "zero"
export const DATA_DESCRIPTOR_SIGNATURE = 0x63736564; // "desc"
export const DATA_SECTOR_SIGNATURE = 0x61746164; // "data"
export const ENTRY_HEADER_BYTES = 64;
export const DESCRIPTOR_BYTES = 32;
export const ENTRY_AT = {
  signature: 0,
  checksum: 4,
  entryLength: 8,
  tail: 12,
  sequenceNumber: 16,
  descriptorCount: 24,
  logGuid: 32,
  flushedFileOffset: 48,
  lastFileOffset: 56,
} as const;
/** `word` is TrailingBytes of a data descriptor; `long` is its LeadingBytes, or ZeroLength of a zero descriptor. */
export const DESCRIPTOR_AT = { signature: 0, word: 4, long: 8, fileOffset: 16, sequenceNumber: 24 } as const;
export const DATA_SECTOR_AT = { signature: 0, sequenceHigh: 4, data: 8, sequenceLow: 4092 } as const;

/** 2.5.1 BAT entry: state in bits 0-2, 17 reserved bits, the file offset in MiB in bits 20-63. */
export const BAT_ENTRY_BYTES = 8;
export const PAYLOAD = { notPresent: 0, undefined: 1, zero: 2, unmapped: 3, full: 6, partial: 7 } as const;
export const BITMAP = { notPresent: 0, present: 6 } as const;
export const BITMAP_BLOCK_BYTES = MIB;
/** A sector bitmap block holds a bit for each of this many sectors. */
export const SECTORS_PER_BITMAP_BLOCK = 2 ** 23;

/** 2.6 Metadata region: a table of 64 KiB, then the items. */
export const METADATA_SIGNATURE_LOW = 0x6174656d; // "meta"
export const METADATA_SIGNATURE_HIGH = 0x61746164; // "data"
export const METADATA_TABLE_BYTES = 64 * KIB;
export const METADATA_COUNT_AT = 10;
export const METADATA_ENTRIES_AT = 32;
export const METADATA_ENTRY_BYTES = 32;
export const METADATA_ENTRY_AT = { itemId: 0, offset: 16, length: 20, flags: 24 } as const;
export const METADATA_FLAG = { isUser: 1, isVirtualDisk: 2, isRequired: 4 } as const;
export const MAX_USER_ITEMS = 1024;
export const MAX_ITEM_BYTES = MIB;
export const ITEM = {
  fileParameters: 'caa16737-fa36-4d43-b3b6-33f0aa44e76b',
  virtualDiskSize: '2fa54224-cd1b-4876-b211-5dbed83bf4b8',
  virtualDiskId: 'beca12ab-b2e6-4523-93ef-c309e000c746',
  logicalSectorSize: '8141bf1d-a96f-4709-ba47-f233a8faab5f',
  physicalSectorSize: 'cda348c7-445d-4471-9cc9-e9885251c556',
  parentLocator: 'a8d35f2d-b30b-454d-abf7-d3d84834ab0c',
  /** A file whose making was not finished: never to be used as a disk. */
  incompleteFile: '71cc85f0-1b69-4e28-9558-c3bf83ae75d3',
} as const;
export const FILE_PARAMETER_FLAG = { leaveBlockAllocated: 1, hasParent: 2 } as const;

export interface MetadataItem {
  readonly itemId: string;
  readonly isUser: boolean;
  /** Belongs to the disk's contents: a child made from this file inherits it. */
  readonly isVirtualDisk: boolean;
  readonly isRequired: boolean;
  /** From the start of the metadata region; 0 for an empty item. */
  readonly offset: number;
  readonly length: number;
}

/** 2.6.2.6 Parent locator. */
export const VHDX_LOCATOR_TYPE = 'b04aefb7-d19e-4a81-b789-25b8e9445913';
export const LOCATOR_HEADER_BYTES = 20;
export const LOCATOR_COUNT_AT = 18;
export const LOCATOR_ENTRY_BYTES = 12;

export const MAX_VIRTUAL_SIZE = 64 * TIB;
export const MIN_BLOCK_SIZE = MIB;
export const MAX_BLOCK_SIZE = 256 * MIB;

/** As Windows writes them: log at 1 MiB, metadata at 2 MiB, BAT at 3 MiB; item data from 64 KiB in the region. */
export const NEW_FILE = {
  logOffset: MIB,
  logLength: MIB,
  metadataOffset: 2 * MIB,
  metadataLength: MIB,
  batOffset: 3 * MIB,
  dynamicBlockSize: 32 * MIB,
  fixedBlockSize: 2 * MIB,
  differencingBlockSize: 2 * MIB,
  logicalSectorSize: 512,
  physicalSectorSize: 4096,
} as const;
