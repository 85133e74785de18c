import { realpathSync } from 'node:fs';
import { throwIfAborted } from '../async/index.ts';
import { ZERO_GUID } from '../binary/index.ts';
import type { DiskType, ParentReference } from '../formats/disk-image.ts';
import { readVhdSummary, VHD_SECTOR_BYTES } from '../formats/vhd/index.ts';
import { readVhdxSummary } from '../formats/vhdx/index.ts';
import type { ByteStore } from '../store/index.ts';
import { isImageUsedElsewhere } from '../system/index.ts';
import { type ChangeTrackingInfo, TRACKING_OFF } from './chain-changes.ts';
import { changeTrackingState } from './changed-blocks.ts';
import { readContentInfo } from './content-info.ts';
import { type DiskFormat, formatOf, isVhdSet } from './disk-format.ts';
import { unfinishedMerge } from './merge-vhd.ts';
import { mayHoldParent, parentCandidates, resolveAllowed, saidParent } from './parent-paths.ts';
import { openToLook } from './read-link.ts';
import { onVhdSetLeaf } from './vhd-set-store.ts';

/** Windows: VIRTUAL_STORAGE_TYPE. */
export interface StorageType {
  /** VIRTUAL_STORAGE_TYPE_DEVICE_*: 2 VHD, 3 VHDX, 0 anything else. */
  readonly deviceId: 0 | 2 | 3;
  /** Microsoft's, or zeros. */
  readonly vendorId: string;
}

/**
 * What a disk file is, as plain data: all that GetVirtualDiskInformation (virtdisk.h) answers. After each field the
 * GET_VIRTUAL_DISK_INFO_* value that it is the answer to.
 */
export interface VhdInfo {
  readonly path: string;
  /** `vhds`: a VHD Set; everything else is then said of the disk file that it has now. */
  readonly format: DiskFormat | 'vhds';
  readonly type: DiskType | 'raw';
  /** SIZE: VirtualSize. */
  readonly virtualSizeBytes: number;
  /** SIZE: PhysicalSize. The file's length; the space that it takes may be less. */
  readonly fileSizeBytes: number;
  readonly allocatedBytes: number;
  /** SIZE: BlockSize. */
  readonly blockSizeBytes: number | null;
  /** SIZE: SectorSize, and VHD_PHYSICAL_SECTOR_SIZE's twin. */
  readonly logicalSectorSizeBytes: number;
  /** VHD_PHYSICAL_SECTOR_SIZE. */
  readonly physicalSectorSizeBytes: number;
  /** IDENTIFIER. The virtual disk's id of a VHDX, a VHD's unique id. */
  readonly identifier: string | null;
  /** VIRTUAL_DISK_ID: the disk's own id, the same in every file of a VHDX chain. */
  readonly virtualDiskId: string | null;
  /** Of a VHDX: the identity of its contents, which a child records. */
  readonly dataWriteGuid: string | null;
  /** PARENT_LOCATION, resolved. Where the parent lies; where it cannot be found, what the file says of it. */
  readonly parentPath: string | null;
  readonly parentFound: boolean;
  /** PARENT_LOCATION, unresolved: every path that the file names, as it names it: relative, volume, absolute. */
  readonly parentLocations: readonly string[];
  /** PARENT_IDENTIFIER: what the file says of its parent's contents. */
  readonly parentIdentifier: string | null;
  /** PARENT_TIMESTAMP, in ISO 8601. A VHD alone records when its parent was written. */
  readonly parentTimestamp: string | null;
  /** VIRTUAL_STORAGE_TYPE. */
  readonly storageType: StorageType;
  /** PROVIDER_SUBTYPE: 2 fixed, 3 dynamic, 4 differencing; null for a raw file. */
  readonly providerSubtype: 2 | 3 | 4 | null;
  /** IS_4K_ALIGNED: every block begins at a multiple of 4 KiB of the file. Null where only `all` tells (a VHD with blocks). */
  readonly is4kAligned: boolean | null;
  /** FRAGMENTATION: see VhdContentInfo. Null unless `all` was asked for. */
  readonly fragmentationPercent: number | null;
  /** IS_LOADED: a machine, a mount or another program has it open, if only to read it or under a disk that stands on it. */
  readonly isLoaded: boolean;
  /** CHANGE_TRACKING_STATE. */
  readonly changeTracking: ChangeTrackingInfo;
  /** SMALLEST_SAFE_VIRTUAL_SIZE. Null unless `all` was asked for, and while the disk is in use or lacks its parent. */
  readonly smallestSafeSizeBytes: number | null;
  /** Another process has it open for writing. */
  readonly inUse: boolean;
  /** A merge of this file was cut short: the file that it goes into. Merging again brings it to its end. */
  readonly unfinishedMergeInto: string | null;
}

export interface VhdInfoOptions {
  readonly format?: DiskFormat | undefined;
  /** Where the parent may lie beside the child's own folder; elsewhere it is named but does not count as found. */
  readonly allowParents?: readonly string[] | undefined;
  /** Also answers what the disk's contents and its whole block table must be read for; opens its parents. */
  readonly all?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

const MICROSOFT = 'ec984aec-a0f9-47e9-901f-71415a66345b';
const SUBTYPES = { fixed: 2, dynamic: 3, differencing: 4 } as const;
const SECONDS_TO_2000 = Date.UTC(2000, 0, 1) / 1000;

/** The answers that follow from format and type alone. */
export function storageOf(
  format: DiskFormat,
  type: VhdInfo['type'],
): Pick<VhdInfo, 'storageType' | 'providerSubtype' | 'is4kAligned'> {
  const deviceId = format === 'vhdx' ? 3 : format === 'vhd' ? 2 : 0;
  return {
    storageType: { deviceId, vendorId: deviceId === 0 ? ZERO_GUID : MICROSOFT },
    providerSubtype: type === 'raw' ? null : SUBTYPES[type],
    // A VHDX puts everything at whole MiB; what has no blocks begins at 0.
    is4kAligned: format === 'vhd' && type !== 'fixed' ? null : true,
  };
}

/**
 * Tells what a disk file is. Works while the disk is in use; opens no parent, unless `all` is asked for.
 * Windows: GetVirtualDiskInformation (virtdisk.h).
 * @throws HvError `not-found`, `permission-denied`, `corrupt`, `unsupported`, `invalid-argument`, `io`
 */
export async function vhdInfo(path: string, options: VhdInfoOptions = {}): Promise<VhdInfo> {
  throwIfAborted(options.signal);
  if (isVhdSet(path, options.format)) return setInfo(path, options);
  const format = formatOf(path, options.format);
  const { file, inUse } = openToLook(path);
  let head: Omit<VhdInfo, 'changeTracking'> & { readonly format: DiskFormat };
  try {
    const { type, locator, ...said } = describe(file.store, format, inUse);
    head = {
      path: file.path,
      format,
      type,
      fileSizeBytes: file.store.size(),
      allocatedBytes: file.store.allocatedBytes(),
      ...said,
      ...storageOf(format, type),
      ...whereIsParent(file.path, locator, options.allowParents ?? []),
      parentLocations: locator ? pathsOf(locator) : [],
      parentIdentifier: locator?.linkages[0] ?? null,
      fragmentationPercent: null,
      isLoaded: inUse || isImageUsedElsewhere(file.store.fd),
      smallestSafeSizeBytes: null,
      inUse,
      unfinishedMergeInto: format === 'raw' ? null : (unfinishedMerge(file.path)?.targetPath ?? null),
    };
  } finally {
    file.store.close();
  }
  // From here on this call has the file open no more: another one beside it would take that for a use.
  const info = { ...head, changeTracking: format === 'vhdx' ? await changeTrackingState(head.path) : TRACKING_OFF };
  return options.all === true ? { ...info, ...(await readContentInfo(info, options)) } : info;
}

type Said = Pick<
  VhdInfo,
  | 'type'
  | 'virtualSizeBytes'
  | 'blockSizeBytes'
  | 'logicalSectorSizeBytes'
  | 'physicalSectorSizeBytes'
  | 'identifier'
  | 'virtualDiskId'
  | 'dataWriteGuid'
  | 'parentTimestamp'
>;

/** What the file says of itself. */
function describe(
  store: ByteStore,
  format: DiskFormat,
  inUse: boolean,
): Said & { readonly locator: ParentReference | undefined } {
  if (format === 'raw') {
    return {
      type: 'raw',
      virtualSizeBytes: store.size(),
      blockSizeBytes: null,
      logicalSectorSizeBytes: 512,
      physicalSectorSizeBytes: 4096,
      identifier: null,
      virtualDiskId: null,
      dataWriteGuid: null,
      parentTimestamp: null,
      locator: undefined,
    };
  }
  if (format === 'vhd') {
    const { footer, header, parentReference } = readVhdSummary(store);
    const { parentTimestamp } = header ?? { parentTimestamp: 0 };
    return {
      type: footer.type,
      virtualSizeBytes: footer.sizeBytes,
      blockSizeBytes: header?.blockSizeBytes ?? null,
      logicalSectorSizeBytes: VHD_SECTOR_BYTES,
      physicalSectorSizeBytes: VHD_SECTOR_BYTES,
      identifier: footer.uniqueId,
      virtualDiskId: footer.uniqueId,
      dataWriteGuid: null,
      parentTimestamp: parentReference ? new Date((SECONDS_TO_2000 + parentTimestamp) * 1000).toISOString() : null,
      locator: parentReference,
    };
  }
  const { header, metadata } = readVhdxSummary(store, inUse);
  return {
    type: metadata.hasParent ? 'differencing' : metadata.leaveBlockAllocated ? 'fixed' : 'dynamic',
    virtualSizeBytes: metadata.virtualSizeBytes,
    blockSizeBytes: metadata.blockSizeBytes,
    logicalSectorSizeBytes: metadata.logicalSectorSizeBytes,
    physicalSectorSizeBytes: metadata.physicalSectorSizeBytes,
    identifier: metadata.virtualDiskId,
    virtualDiskId: metadata.virtualDiskId,
    dataWriteGuid: header.dataWriteGuid,
    parentTimestamp: null,
    locator: metadata.locator,
  };
}

function pathsOf({ relativePath, volumePath, absolutePath }: ParentReference): string[] {
  return [relativePath, volumePath, absolutePath].filter((path) => path !== undefined);
}

async function setInfo(path: string, options: VhdInfoOptions): Promise<VhdInfo> {
  return onVhdSetLeaf(path, options, async (leafPath, allowParents) => {
    const info = await vhdInfo(leafPath, { ...options, format: 'vhdx', allowParents });
    return { ...info, path: realpathSync(path), format: 'vhds' };
  });
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
