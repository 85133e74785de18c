import type { LongOptions } from '../async/index.ts';
import type { ByteStore } from '../store/index.ts';

/** What a disk file is: whole at once, growing, or only what differs from its parent. */
export type DiskType = 'fixed' | 'dynamic' | 'differencing';

/** What a differencing file reads where it holds nothing itself. */
export interface ParentDisk {
  readonly sizeBytes: number;
  read(offset: number, target: Uint8Array, targetStart: number, length: number): void;
  segments(offset: number, length: number, depth: number): Iterable<Segment>;
}

/** A run of bytes that come from one place. */
export interface Segment {
  readonly offset: number;
  readonly length: number;
  readonly kind: 'data' | 'zero' | 'hole';
  /** How many files up the chain; 0 is this one. */
  readonly depth: number;
  /** For data: the store and the position in it. */
  readonly store: ByteStore | undefined;
  readonly fileOffset: number;
}

/** Whether two runs that follow each other are one. */
export function isContinued(before: Segment, next: Segment): boolean {
  return (
    before.kind === next.kind &&
    before.depth === next.depth &&
    before.store === next.store &&
    (before.kind !== 'data' || before.fileOffset + before.length === next.fileOffset)
  );
}

/** Runs as they come, neighbours of one kind and place made one. */
export function* joinSegments(segments: Iterable<Segment>): Generator<Segment> {
  let pending: Segment | undefined;
  for (const next of segments) {
    if (pending && isContinued(pending, next)) {
      pending = { ...pending, length: pending.length + next.length };
    } else {
      if (pending) yield pending;
      pending = next;
    }
  }
  if (pending) yield pending;
}

/** A block of the disk that holds space in a file of its own. */
export interface HeldBlock {
  readonly offset: number;
  /** The bytes of the disk in it: the last block may hold fewer than the others. */
  readonly length: number;
  /**
   * `whole`: all that it reads lies in this file; `part`: some of it comes from the parent; `unused`: it reads as zero, and
   * its space holds nothing.
   */
  readonly kind: 'whole' | 'part' | 'unused';
}

/** The paths under which a differencing file says that its parent may lie, as they stand in the file. */
export interface ParentPaths {
  readonly relativePath: string | undefined;
  readonly volumePath: string | undefined;
  readonly absolutePath: string | undefined;
}

/** Who a differencing file's parent is, and where it may lie. */
export interface ParentReference extends ParentPaths {
  /** The parent's `contentId` is one of these: one, or two while a merge into the parent is under way. */
  readonly linkages: readonly string[];
  /** What the file says, as text, for messages: every pair of a VHDX locator, every locator of a VHD. */
  readonly pairs: readonly (readonly [key: string, value: string])[];
}

/**
 * An open image file of any format that has blocks: what a chain is made of. Reads and writes take bytes of the virtual
 * disk; all calls but flush and close are synchronous. Owns its store.
 */
export interface DiskImage extends ParentDisk {
  readonly format: 'vhd' | 'vhdx';
  readonly type: DiskType;
  /** Names the file in messages. */
  readonly name: string;
  readonly store: ByteStore;
  readonly readOnly: boolean;
  /** Null where the format has no blocks (a fixed VHD). */
  readonly blockSizeBytes: number | null;
  readonly logicalSectorSizeBytes: number;
  readonly physicalSectorSizeBytes: number;
  /** The virtual disk's own id: the same in every file of a VHDX chain; a VHD file's unique id. */
  readonly virtualDiskId: string;
  /** What a child's reference holds: a VHDX's DataWriteGuid, which changes with the contents; a VHD's unique id. */
  readonly contentId: string;
  /** Of a differencing file. */
  readonly parentReference: ParentReference | undefined;

  /** A differencing file needs it before it is read where it holds nothing itself. */
  setParent(parent: ParentDisk): void;
  /** @throws HvError `permission-denied`, `invalid-argument`, `io`, `no-space`, `corrupt` */
  write(offset: number, source: Uint8Array, sourceStart: number, length: number): void;
  /** The range reads as zero afterwards. Whole blocks lose their space when `mayUnmap` says so and the disk is not fixed. */
  writeZeroes(offset: number, length: number, mayUnmap: boolean): void;
  /** Whole blocks become unmapped and read as zero; parts of blocks stay as they are. A fixed disk ignores it. */
  trim(offset: number, length: number): void;
  /**
   * Makes the disk larger or smaller, and the change durable: at every moment the old or the new size. What a larger
   * disk gains reads as zero; what a smaller one loses is gone. `sizeBytes` tells the present size.
   * @throws HvError `invalid-argument` (no size that the format has), `unsupported`, `permission-denied`, `no-space`, `io`
   */
  resize(sizeBytes: number): void;
  /** Makes a GUID the disk's own id, durable. @throws HvError `invalid-argument` (no GUID), `permission-denied`, `io` */
  changeVirtualDiskId(id: string): void;
  /**
   * The blocks that hold space in this file, in the disk's order; none where the format has no blocks. The consumer may
   * change blocks that it was given before it asks for the next.
   */
  heldBlocks(): Generator<HeldBlock>;
  /**
   * Gives back the space of a block, named by its offset, that reads as zero in any case: what the disk holds, and so
   * `contentId`, stay as they are. The caller has read it; where freeing it would show something else (a parent's data
   * in a format that has no mark for zeros), nothing happens. @returns whether the space is free
   */
  releaseZeroBlock(offset: number): boolean;
  /**
   * Moves what lies last in the file into free space nearer to its front, and cuts the file. The disk's contents and
   * `contentId` stay; at every moment of it the file is whole. An abort ends it between two moves.
   * @throws HvError `permission-denied`, `io`, `no-space`, `corrupt`, `aborted`
   */
  reclaimSpace(options: LongOptions): Promise<void>;
  /** Everything written before survives a power cut when it returns. Calls that wait for the same flush share one. */
  flush(): Promise<void>;
  /** The same, at once: for moments in which nothing may come between. */
  flushSync(): void;
  /** Ends writing: everything in its place, closed in order. The file stays open for reading. */
  seal(): void;
  /** Makes `contentId` what this session's writes need, now: who records it can rely on it from here on. */
  settleContentId(): string;
  /**
   * Prepares both files for a merge of this one into its parent, so that at every moment the two belong together: where
   * a write changes the parent's `contentId`, this file names the old and the new one before the parent takes it.
   * @param parent an image of the same format
   */
  announceMerge(parent: DiskImage): void;
  /** Where the bytes of a range come from, in order and without gaps; neighbours of one kind and place are one. */
  segments(offset: number, length: number, depth?: number): Generator<Segment>;
  /** Whether the bytes at a position of the file are only right with the replay that lies over it. */
  isOverlaid(fileOffset: number, length: number): boolean;
  /** Ends writing in order and closes the file. Idempotent. @throws HvError `io`, `no-space`; the file is closed even then */
  close(): Promise<void>;
}
