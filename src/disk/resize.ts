import { statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import { type LongOptions, throttleProgress, throwIfAborted } from '../async/index.ts';
import { roundUp } from '../binary/index.ts';
import { HvError, isHvError } from '../errors/index.ts';
import type { DiskFormat } from './disk-format.ts';
import { type OpenDisk, openVhd } from './open-vhd.ts';
import { RawDisk } from './raw-disk.ts';
import { moveGptBackup } from './volumes/move-gpt-backup.ts';
import { smallestSafeSize } from './volumes/smallest-safe-size.ts';

/** No image format has a smaller disk. */
const MIN_IMAGE_BYTES = 3 * 1024 * 1024;
const SECTOR_BYTES = 512;

export interface ResizeOptions extends LongOptions {
  readonly format?: DiskFormat | undefined;
  /** Cut off what lies behind the new size, partitions and file systems too. */
  readonly unsafe?: boolean | undefined;
  /** Where parents may lie beside their children's own folders. */
  readonly allowParents?: readonly string[] | undefined;
  /** Check everything, change nothing. */
  readonly dryRun?: boolean | undefined;
}

export interface ResizeResult {
  readonly path: string;
  readonly oldSizeBytes: number;
  readonly sizeBytes: number;
  /** Null where it was not asked for: the disk grew. */
  readonly smallestSafeSizeBytes: number | null;
}

/**
 * Makes a virtual disk larger or smaller, of any format. The second copy of a GUID partition table moves to the new end;
 * partitions and file systems stay as they are. A smaller disk is refused below the end of its last partition.
 * At every moment the file holds the disk of the old or of the new size.
 * Windows: ResizeVirtualDisk (virtdisk.h); `minimum` is RESIZE_VIRTUAL_DISK_FLAG_RESIZE_TO_SMALLEST_SAFE_VIRTUAL_SIZE,
 * `unsafe` RESIZE_VIRTUAL_DISK_FLAG_ALLOW_UNSAFE_VIRTUAL_SIZE.
 * @param sizeBytes the new size, or `minimum`: the smallest that is safe
 * @throws HvError `invalid-argument` (no size that the format has), `invalid-state` (below the smallest safe size),
 *   `no-space`, `in-use`, `corrupt`, `io`, `aborted`, and as openVhd
 */
export async function resizeVhd(
  path: string,
  sizeBytes: number | 'minimum',
  options: ResizeOptions = {},
): Promise<ResizeResult> {
  const { signal, unsafe = false, dryRun = false, format, allowParents } = options;
  const report = throttleProgress(options.onProgress);
  const disk = await openVhd(path, { readOnly: dryRun, format, allowParents, signal });
  let isDone = false;
  try {
    const oldSizeBytes = disk.sizeBytes;
    const isShrinking = sizeBytes === 'minimum' || sizeBytes < oldSizeBytes;
    report({ phase: 'examine', done: 0, total: 1 });
    const smallest = isShrinking ? smallestSafeSize(disk) : null;
    const wanted = sizeBytes === 'minimum' ? minimumOf(disk, smallest ?? 0) : sizeBytes;
    mustBePossible(disk, path, wanted);
    if (smallest !== null && wanted < smallest && !unsafe) throw tooSmall(path, wanted, smallest);
    const result = { path, oldSizeBytes, sizeBytes: wanted, smallestSafeSizeBytes: smallest };
    throwIfAborted(signal, 'resizing');
    if (wanted > oldSizeBytes) mustHaveRoom(disk, path, wanted - oldSizeBytes);
    if (!dryRun && wanted !== oldSizeBytes) {
      report({ phase: 'resize', done: 0, total: 1 });
      if (isShrinking) await moveTable(disk, wanted, unsafe);
      disk.resize(wanted);
      if (!isShrinking) await moveTable(disk, wanted, true);
    }
    report({ phase: 'resize', done: 1, total: 1 });
    isDone = true;
    return result;
  } finally {
    if (isDone) await disk.close();
    // What went wrong first is the one to tell.
    else await disk.close().catch(() => undefined);
  }
}

function minimumOf(disk: OpenDisk, smallest: number): number {
  const least = disk instanceof RawDisk ? SECTOR_BYTES : MIN_IMAGE_BYTES;
  const size = Math.max(least, roundUp(smallest, disk.logicalSectorSizeBytes));
  // A disk that is smaller than its format allows stays as it is.
  return Math.min(size, disk.sizeBytes);
}

function mustBePossible(disk: OpenDisk, path: string, sizeBytes: number): void {
  const sector = disk.logicalSectorSizeBytes;
  if (Number.isSafeInteger(sizeBytes) && sizeBytes > 0 && sizeBytes % sector === 0) return;
  throw new HvError(
    'invalid-argument',
    `the size of ${path} must be a positive multiple of ${sector} bytes; ${sizeBytes} is not`,
    {
      detail: { path, value: sizeBytes, sectorSizeBytes: sector },
    },
  );
}

function tooSmall(path: string, sizeBytes: number, smallest: number): HvError {
  return new HvError(
    'invalid-state',
    `${path} holds partitions or data up to ${smallest} bytes and cannot shrink to ${sizeBytes}`,
    {
      detail: { path, sizeBytes, smallestSafeSizeBytes: smallest },
      hint: 'Make its last partition smaller first, or lose what lies behind with --unsafe.',
    },
  );
}

/** A table that is damaged, or that does not fit any more and was to be cut, is left as it is. */
async function moveTable(disk: OpenDisk, sizeBytes: number, mayFail: boolean): Promise<void> {
  try {
    await moveGptBackup(disk, sizeBytes);
  } catch (error) {
    const isOfTable = isHvError(error, 'invalid-argument') || isHvError(error, 'corrupt');
    if (!mayFail || !isOfTable) throw error;
  }
}

/** A fixed disk takes what it gains at once: what cannot fit is said before anything changes. */
function mustHaveRoom(disk: OpenDisk, path: string, neededBytes: number): void {
  if (disk instanceof RawDisk || disk.layers[0]?.type !== 'fixed') return;
  const { blocks, bavail, bsize } = statfsSync(dirname(disk.layers[0].path));
  const freeBytes = bavail * bsize;
  // Some file systems do not count their blocks; the reservation itself is the judge there.
  if (blocks === 0 || freeBytes >= neededBytes) return;
  throw new HvError('no-space', `${path} needs ${neededBytes} bytes more; ${freeBytes} are free there`, {
    detail: { path, neededBytes, freeBytes },
    hint: 'Choose a smaller size, or free some space.',
  });
}
