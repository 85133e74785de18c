/**
 * What a reader of a file system says of a volume. Shared by formats/ext4, formats/ntfs and formats/fat, which only read:
 * nothing here or there writes to a volume, and nothing in a volume is trusted.
 */

/** Bytes of a volume, counted from its start; what lies beyond its end reads as zero. */
export interface VolumeBytes {
  readonly sizeBytes: number;
  read(offset: number, length: number): Uint8Array;
}

/** A run of bytes of the volume that hold nothing of anybody's. */
export interface FreeRange {
  readonly offset: number;
  readonly length: number;
}

/**
 * Whether what lies in a volume can be trusted to be all there is:
 * `clean` unmounted in order; `dirty` in use or not unmounted, or known to have errors; `needs-recovery` its journal has
 * something that is not in its place; `hibernated` a sleeping system holds more of it in its own memory; `damaged` its
 * structures contradict each other; `unsupported` it uses what this reader does not know.
 */
export type VolumeState = 'clean' | 'dirty' | 'needs-recovery' | 'hibernated' | 'damaged' | 'unsupported';

/** What the first look at a volume tells: enough to know how far it reaches. */
export interface VolumeIdentity {
  readonly kind: FileSystemKind;
  /** How far the file system reaches into the volume; null where this reader cannot tell. */
  readonly sizeBytes: number | null;
}

export type FileSystemKind = 'ext2' | 'ext3' | 'ext4' | 'ntfs' | 'fat12' | 'fat16' | 'fat32' | 'exfat';

export interface FileSystem extends VolumeIdentity {
  readonly sizeBytes: number;
  /** The unit in which it gives out space. */
  readonly blockSizeBytes: number;
  readonly state: VolumeState;
  /** What made it this state, as the end of a sentence; empty when clean. */
  readonly why: string;
  /**
   * The free space, in order, neighbours joined, never anything of the file system's own structures. Only to be used
   * when the state is `clean`, and only after a first pass over all of it has thrown nothing: what is found damaged on
   * the way ends it.
   * @throws HvError `corrupt`, `io`
   */
  freeRanges(): Generator<FreeRange>;
}

/** Ranges as they come, those that touch made one. They must be in order. */
export function* joinRanges(ranges: Iterable<FreeRange>): Generator<FreeRange> {
  let pending: FreeRange | undefined;
  for (const next of ranges) {
    if (next.length === 0) continue;
    if (pending && pending.offset + pending.length === next.offset) {
      pending = { offset: pending.offset, length: pending.length + next.length };
    } else {
      if (pending) yield pending;
      pending = next;
    }
  }
  if (pending) yield pending;
}
