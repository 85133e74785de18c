/**
 * The layout of hv's VHD Set container: docs/formats/vhdset.md. Little-endian. Constants and shapes only.
 *
 *     0 signature page | 4096 header copy 0 | 8192 header copy 1 | 64 KiB state area 0 | 64 KiB + 1 MiB state area 1
 */
export const SIGNATURE = 'HV-VHD-SET\r\n\u001a\n\0\0';
export const FORMAT_VERSION = 1;
export const PAGE_BYTES = 4096;

/** The first page: who made the file. Written once. */
export const FILE_AT = { signature: 0, version: 16, checksum: 20, setId: 24 } as const;

export const HEADER_OFFSETS = [4096, 8192] as const;
export const HEADER_SIGNATURE = 0x48_53_56_68;
/** Which state counts: of two valid headers the one with the higher sequence number. */
export const HEADER_AT = {
  signature: 0,
  checksum: 4,
  sequence: 8,
  stateOffset: 16,
  stateLength: 24,
  stateChecksum: 28,
} as const;

export const MAX_STATE_BYTES = 1 << 20;
export const STATE_OFFSETS = [64 * 1024, 64 * 1024 + MAX_STATE_BYTES] as const;
/** A whole container is as long as this; no less, so that a state never needs space that is not there. */
export const CONTAINER_BYTES = 64 * 1024 + 2 * MAX_STATE_BYTES;

export const MAX_FILES = 4096;
export const MAX_SNAPSHOTS = 2048;
export const MAX_TEXT = 4096;

/** A disk file of the set. */
export interface SetFile {
  readonly id: string;
  /** From the container's folder, with `/` as separator; absolute where it lies elsewhere. */
  readonly path: string;
  /** The file under it; null for the lowest. */
  readonly parentId: string | null;
}

export interface SetSnapshot {
  readonly id: string;
  /** The file whose contents it is; null for a reference point, of which only the rest of this entry was kept. */
  readonly fileId: string | null;
  readonly creationTime: string;
  /** The snapshot that it descends from. */
  readonly parentSnapshotId: string | null;
  /** It may be made the default leaf again and be written to. */
  readonly isWriteable: boolean;
  /** The change tracking id of its moment. */
  readonly rctId: string | null;
}

/** Everything that a set is. Replaced as a whole. */
export interface VhdSetState {
  readonly virtualDiskId: string;
  /** The file that is read and written when the set is used. */
  readonly leafId: string;
  /** The snapshot that the leaf's contents descend from. */
  readonly currentSnapshotId: string | null;
  /** Where new files are made; null: beside the container. */
  readonly defaultPath: string | null;
  readonly files: readonly SetFile[];
  readonly snapshots: readonly SetSnapshot[];
  /** Files that belong to the set no more, or not yet: removed at the next opportunity. */
  readonly leftovers: readonly string[];
  /** A file that is being merged into the one under it; once everything is copied, nothing is copied again. */
  readonly merging: { readonly fileId: string; readonly isCopied: boolean } | null;
}
