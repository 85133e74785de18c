import type { ChangeOptions } from './file-disks.ts';

/**
 * How a host shows a disk: `nbd`: a network block device of the kernel, which our server answers; `fuse-loop`: a block
 * device of the kernel (loop) over a file of ours (FUSE); both with devices for its partitions; `fuse`: files alone, one
 * for the disk and one for each partition.
 */
export type MountWay = 'nbd' | 'fuse-loop' | 'fuse';

/** A way to show a disk, and what it lacks on a host. */
export interface MountWayFinding {
  readonly way: MountWay;
  /** Null where nothing is missing. */
  readonly missing: string | null;
  readonly fix: string | null;
}

export interface MountVhdOptions extends ChangeOptions {
  /** Refuses writes; any number of readers may then have the file open. */
  readonly readOnly?: boolean | undefined;
  /**
   * Also mounts the file systems inside in this host's kernel, which then reads what the disk's maker wrote: a kernel is
   * not made for hostile file systems. The disk becomes read-only, unless it is trusted.
   */
  readonly mountFileSystems?: boolean | undefined;
  /** Its file systems come from where they are trusted: they are mounted for writing. */
  readonly trusted?: boolean | undefined;
  /** Default: the best that the host has. */
  readonly way?: MountWay | undefined;
  /** Folders or files outside of a child's own folder where parents may lie. */
  readonly allowParents?: readonly string[] | undefined;
}

/** A disk that a host shows (GetAllAttachedVirtualDiskPhysicalPaths). */
export interface AttachedDisk {
  /** The disk's file, without links. */
  readonly path: string;
  readonly way: MountWay;
  /** `broken`: its worker was killed; dismounting it cleans up. */
  readonly state: 'attached' | 'broken';
  readonly readOnly: boolean;
  readonly sizeBytes: number;
  /** The block device; null where the way has none. */
  readonly devicePath: string | null;
  /** The file that shows the whole disk; the block device where the way has no files. */
  readonly filePath: string;
  readonly partitions: readonly AttachedPartition[];
  readonly processId: number;
  readonly startedTime: string;
}

export interface AttachedPartition {
  /** From 1, in the order of the partition table. */
  readonly number: number;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  /** As the partition table says: a GUID, or two hexadecimal digits. */
  readonly type: string;
  readonly filePath: string;
  readonly devicePath: string | null;
  /** Where its file system is mounted; null where it is not. */
  readonly mountPath: string | null;
}
