/**
 * The layout of a VMDK file of one sparse extent: constants only. All integers are little-endian, all offsets in sectors.
 * Source: VMware's Virtual Disk Format 5.0, "Hosted Sparse Extent Header", "Hosted Sparse Extent Metadata".
 */
export const VMDK_MAGIC = 0x564d444b; // "KDMV"
export const VMDK_HEADER_AT = {
  magic: 0,
  version: 4,
  flags: 8,
  capacity: 12,
  grainSize: 20,
  descriptorOffset: 28,
  descriptorSize: 36,
  entriesPerTable: 44,
  redundantDirectoryOffset: 48,
  directoryOffset: 56,
  overhead: 64,
  /** Four characters by which a transfer as text is noticed. */
  lineEnds: 73,
} as const;

export const SECTOR = 512;
export const LINE_ENDS = '\n \r\n';
/** Flags: the line ends are to be looked at; there is a second, redundant copy of the tables. */
export const FLAGS = 0b11;
export const GRAIN_SECTORS = 128;
export const GRAIN_BYTES = GRAIN_SECTORS * SECTOR;
export const ENTRY_BYTES = 4;
export const ENTRIES_PER_TABLE = 512;
export const TABLE_SECTORS = (ENTRIES_PER_TABLE * ENTRY_BYTES) / SECTOR;
export const DESCRIPTOR_OFFSET = 1;
export const DESCRIPTOR_SECTORS = 20;
