import { realpathSync } from 'node:fs';
import { throwIfAborted } from '../async/index.ts';
import type { DiskType, ParentReference } from '../formats/disk-image.ts';
import { readVhdSummary, VHD_SECTOR_BYTES } from '../formats/vhd/index.ts';
import { readVhdxSummary } from '../formats/vhdx/index.ts';
import { type DiskFormat, formatOf } from './disk-format.ts';
import { unfinishedMerge } from './merge-vhd.ts';
import { mayHoldParent, parentCandidates, resolveAllowed, saidParent } from './parent-paths.ts';
import { openToLook } from './read-link.ts';

/** What a disk file is, as plain data. */
export interface VhdInfo {
  readonly path: string;
  readonly format: DiskFormat;
  readonly type: DiskType | 'raw';
  readonly virtualSizeBytes: number;
  /** The file's length; the space that it takes may be less. */
  readonly fileSizeBytes: number;
  readonly allocatedBytes: number;
  readonly blockSizeBytes: number | null;
  readonly logicalSectorSizeBytes: number;
  readonly physicalSectorSizeBytes: number;
  /** The virtual disk's id. */
  readonly identifier: string | null;
  readonly dataWriteGuid: string | null;
  /** Where the parent lies; where it cannot be found, what the file says of it. */
  readonly parentPath: string | null;
  readonly parentFound: boolean;
  /** Another process has it open for writing. */
  readonly inUse: boolean;
  /** A merge of this file was cut short: the file that it goes into. Merging again brings it to its end. */
  readonly unfinishedMergeInto: string | null;
}

export interface VhdInfoOptions {
  readonly format?: DiskFormat | undefined;
  /** Where the parent may lie beside the child's own folder; elsewhere it is named but does not count as found. */
  readonly allowParents?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Tells what a disk file is. Opens no parent; works while the disk is in use.
 * @throws HvError `not-found`, `permission-denied`, `corrupt`, `unsupported`, `invalid-argument`, `io`
 */
export async function vhdInfo(path: string, options: VhdInfoOptions = {}): Promise<VhdInfo> {
  throwIfAborted(options.signal);
  const format = formatOf(path, options.format);
  const { file, inUse } = openToLook(path);
  try {
    const size = { fileSizeBytes: file.store.size(), allocatedBytes: file.store.allocatedBytes() };
    if (format === 'raw') {
      return {
        path: file.path,
        format,
        type: 'raw',
        virtualSizeBytes: size.fileSizeBytes,
        ...size,
        blockSizeBytes: null,
        logicalSectorSizeBytes: 512,
        physicalSectorSizeBytes: 4096,
        identifier: null,
        dataWriteGuid: null,
        parentPath: null,
        parentFound: false,
        inUse,
        unfinishedMergeInto: null,
      };
    }
    if (format === 'vhd') {
      const { footer, header, parentReference } = readVhdSummary(file.store);
      return {
        path: file.path,
        format,
        type: footer.type,
        virtualSizeBytes: footer.sizeBytes,
        ...size,
        blockSizeBytes: header?.blockSizeBytes ?? null,
        logicalSectorSizeBytes: VHD_SECTOR_BYTES,
        physicalSectorSizeBytes: VHD_SECTOR_BYTES,
        identifier: footer.uniqueId,
        dataWriteGuid: null,
        ...whereIsParent(file.path, parentReference, options.allowParents ?? []),
        unfinishedMergeInto: unfinishedMerge(file.path)?.targetPath ?? null,
        inUse,
      };
    }
    const { header, metadata } = readVhdxSummary(file.store, inUse);
    const parent = whereIsParent(file.path, metadata.locator, options.allowParents ?? []);
    return {
      path: file.path,
      format,
      type: metadata.hasParent ? 'differencing' : metadata.leaveBlockAllocated ? 'fixed' : 'dynamic',
      virtualSizeBytes: metadata.virtualSizeBytes,
      ...size,
      blockSizeBytes: metadata.blockSizeBytes,
      logicalSectorSizeBytes: metadata.logicalSectorSizeBytes,
      physicalSectorSizeBytes: metadata.physicalSectorSizeBytes,
      identifier: metadata.virtualDiskId,
      dataWriteGuid: header.dataWriteGuid,
      ...parent,
      inUse,
      unfinishedMergeInto: unfinishedMerge(file.path)?.targetPath ?? null,
    };
  } finally {
    file.store.close();
  }
}

function whereIsParent(
  childPath: string,
  locator: ParentReference | undefined,
  allowParents: readonly string[],
): Pick<VhdInfo, 'parentPath' | 'parentFound'> {
  if (!locator) return { parentPath: null, parentFound: false };
  const there = parentCandidates(childPath, locator).flatMap((candidate) => realOrUndefined(candidate) ?? []);
  const allowed = resolveAllowed(allowParents);
  const found = there.find((path) => mayHoldParent(childPath, path, allowed));
  return { parentPath: found ?? there[0] ?? saidParent(locator), parentFound: found !== undefined };
}

function realOrUndefined(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined; // Not there, or not to be seen: the caller falls back to what the file says.
  }
}
