/**
 * The layout of a change tracking file (`<disk>.rct`): constants and records, no I/O and no decisions. All integers are
 * little-endian. Source: docs/formats/rct.md; the container is hv's own.
 */
export const KIB = 1024;
export const MIB = 1024 * 1024;

export const SIGNATURE = 'hvrctmap';
export const VERSION = 1;

/** Two copies; the newest that is whole counts. */
export const HEADER_OFFSETS = [0, 64 * KIB] as const;
export const MAX_HEADER_BYTES = 64 * KIB;
export const HEADER_AT = {
  signature: 0,
  checksum: 8,
  headerLength: 12,
  version: 16,
  flags: 20,
  generation: 24,
  fileWriteGuid: 32,
  nextFileWriteGuid: 48,
  diskHeaderSequence: 64,
  sizeBytes: 72,
  unitBytes: 80,
  regionBytes: 88,
  activeSequence: 96,
  lastChangeSequence: 100,
  referenceCount: 104,
  restartedTimeMs: 112,
  references: 256,
} as const;
export const REFERENCE_BYTES = 32;
export const REFERENCE_AT = { branch: 0, counter: 16, sequence: 20, timeMs: 24 } as const;
/** The oldest are forgotten beyond this. */
export const MAX_REFERENCES = 1024;
export const HEADER_FLAG = { restarted: 1 } as const;

/** One bit for each region, least significant first: it may have changed in ways that the unit map does not tell yet. */
export const REGION_MAP_OFFSET = 128 * KIB;
export const REGION_MAP_BYTES = 64 * KIB;
export const MAX_REGIONS = REGION_MAP_BYTES * 8;

/** Pages of sequence numbers, each with its checksum; a page of zeros is a valid one. */
export const UNIT_MAP_OFFSET = 192 * KIB;
export const PAGE_BYTES = 4 * KIB;
export const UNITS_PER_PAGE = PAGE_BYTES / 4 - 1;
/** Growth beyond this starts tracking anew, with larger units. */
export const MAX_UNITS = 2 ** 24;

/** New files: units and regions are this small, unless that made more of them than this. */
export const NEW_FILE = {
  unitBytes: 64 * KIB,
  maxUnits: 2 ** 22,
  regionBytes: MIB,
  maxRegions: 2 ** 15,
} as const;

/** The sequence numbers end here: 32 bits, with room for what is added in one go. */
export const MAX_SEQUENCE = 0xffff_0000;

/** A moment whose changes since can be asked for. */
export interface ReferencePoint {
  /** One for each opening of the file that made reference points: a copy that goes its own way makes other ids. */
  readonly branch: string;
  readonly counter: number;
  /** What changed later has a higher sequence number. */
  readonly sequence: number;
  readonly timeMs: number;
}

export interface RctHeader {
  /** Grows with each writing. */
  readonly generation: bigint;
  /** The disk's FileWriteGuid as it was seen last. */
  readonly fileWriteGuid: string;
  /** What the disk's FileWriteGuid becomes with its next change; all zeros after an orderly end. */
  readonly nextFileWriteGuid: string;
  /** The sequence number of the disk's header; it counts only while no next FileWriteGuid is chosen. */
  readonly diskHeaderSequence: bigint;
  readonly sizeBytes: number;
  readonly unitBytes: number;
  readonly regionBytes: number;
  /** What a unit's sequence number becomes when it changes now. */
  readonly activeSequence: number;
  /** The highest sequence number in the unit map when the header was written. */
  readonly lastChangeSequence: number;
  /** When a write by other software made tracking start anew; 0 for never. */
  readonly restartedTimeMs: number;
  /** Oldest first. */
  readonly references: readonly ReferencePoint[];
}
