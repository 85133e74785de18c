import { throwIfAborted } from '../async/index.ts';
import { HvError, isHvError } from '../errors/index.ts';
import { readVhdxSummary } from '../formats/vhdx/index.ts';
import {
  type ChangeTrackingInfo,
  type DiskChanges,
  disableTracking,
  enableTracking,
  type QueryChangesOptions,
  takeReferencePoint as sealLeaf,
  TRACKING_OFF,
  trackingInfo,
} from './chain-changes.ts';
import { formatOf, isVhdSet } from './disk-format.ts';
import { closeQuietly } from './open-chain.ts';
import { openImageFile } from './open-file.ts';
import { openVhdx } from './open-image.ts';
import { openTracker } from './open-tracker.ts';
import { openChain } from './open-vhd.ts';
import { openToLook } from './read-link.ts';
import { onVhdSetLeaf } from './vhd-set-store.ts';

export interface FileQueryOptions extends QueryChangesOptions {
  /** Where parents of the disk may lie, beside their children's own folders. */
  readonly allowParents?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Whether the changes of a disk file are tracked, and its most recent id. Cheap; opens no parent, and works while the
 * disk is in use. Windows: GetVirtualDiskInformation, GET_VIRTUAL_DISK_INFO_CHANGE_TRACKING_STATE.
 * @throws HvError `not-found`, `permission-denied`, `corrupt`, `io`
 */
export async function changeTrackingState(path: string): Promise<ChangeTrackingInfo> {
  if (isVhdSet(path)) return onVhdSetLeaf(path, {}, (leafPath) => changeTrackingState(leafPath));
  if (formatOf(path) !== 'vhdx') return TRACKING_OFF;
  const { file, inUse } = openToLook(path);
  try {
    const tracker = openTracker(file.path, 'read');
    if (!tracker) return TRACKING_OFF;
    try {
      const { header, metadata } = readVhdxSummary(file.store, inUse);
      const { fileWriteGuid, sequenceNumber: headerSequence } = header;
      tracker.opened({ sizeBytes: metadata.virtualSizeBytes, fileWriteGuid, headerSequence });
      return { enabled: true, ...tracker.state() };
    } finally {
      tracker.close();
    }
  } finally {
    file.store.close();
  }
}

/**
 * Begins to track which blocks of a VHDX file change, in a file beside it. Where that is so already nothing happens; where
 * other software wrote to the disk, tracking begins anew. Windows: SetVirtualDiskInformation,
 * SET_VIRTUAL_DISK_INFO_CHANGE_TRACKING_STATE.
 * @throws HvError `unsupported` (not a VHDX file), `in-use`, `not-found`, `permission-denied`, `no-space`, `io`
 */
export async function enableChangeTracking(path: string): Promise<ChangeTrackingInfo> {
  return withLeaf(path, 'read', (layers) => {
    enableTracking(layers);
    return trackingInfo(layers);
  });
}

/** Ends tracking; all ids of the file are void. @throws HvError `unsupported`, `in-use`, `not-found`, `permission-denied`, `io` */
export async function disableChangeTracking(path: string): Promise<ChangeTrackingInfo> {
  return withLeaf(path, 'write', (layers) => {
    disableTracking(layers);
    return TRACKING_OFF;
  });
}

/** The new file of a tracked disk is tracked from its first write on. Where it cannot be, ids of the disk still tell all. */
export async function goOnTracking(diskPath: string, layerPath: string): Promise<void> {
  try {
    const { mostRecentId } = await changeTrackingState(diskPath);
    if (mostRecentId !== null) await enableChangeTracking(layerPath);
  } catch (error) {
    if (!isHvError(error)) throw error;
  }
}

/**
 * Names this moment: an id, for a query of what changes from here on. Windows: what a snapshot that is converted to a
 * reference point leaves (Msvm_VirtualSystemSnapshotService.ConvertToReferencePoint).
 * @throws HvError `invalid-state` (detail.reason `tracking-off`), `unsupported`, `in-use`, `not-found`, `no-space`, `io`
 */
export async function takeReferencePoint(path: string): Promise<string> {
  return withLeaf(path, 'read', sealLeaf);
}

/**
 * The ranges of a virtual disk that may have changed since an id was made: never fewer than did. Windows:
 * QueryChangesVirtualDisk. The id may have been made in a parent, before the disk got a differencing file; then all that
 * this one holds counts as changed.
 * @throws HvError `invalid-state` (detail.reason `tracking-off`, or `tracking-broken`: software without tracking wrote to
 *   the disk), `not-found` (detail.reason `unknown-id`, too), `invalid-argument`, `unsupported`, `in-use`, `io`
 */
export async function queryChanges(
  path: string,
  sinceId: string,
  options: FileQueryOptions = {},
): Promise<DiskChanges> {
  throwIfAborted(options.signal, 'the query');
  mustBeVhdx(path);
  const chain = openChain(path, { readOnly: true, allowParents: options.allowParents, signal: options.signal });
  try {
    return chain.queryChanges(sinceId, options);
  } finally {
    await chain.close();
  }
}

/** @throws HvError `unsupported`: Windows tracks VHDX files only, and so does hv */
export function mustBeVhdx(path: string): void {
  if (isVhdSet(path) || formatOf(path) === 'vhdx') return;
  throw new HvError('unsupported', `the changes of ${path} cannot be tracked: it is not a VHDX file`, {
    detail: { path },
    hint: 'Convert it to VHDX.',
  });
}

/** The file alone, without its parents; of a VHD Set the one that it has now. `write` keeps readers away as well. */
async function withLeaf<T>(
  path: string,
  access: 'read' | 'write',
  work: (layers: Parameters<typeof trackingInfo>[0]) => T,
): Promise<T> {
  if (isVhdSet(path)) return onVhdSetLeaf(path, {}, (leafPath) => withLeaf(leafPath, access, work));
  mustBeVhdx(path);
  const { store, path: real, identity } = openImageFile(path, { access });
  let image: ReturnType<typeof openVhdx>;
  try {
    image = openVhdx(store, true);
  } catch (error) {
    store.close();
    throw error;
  }
  const layers = [{ image, path: real, identity }];
  try {
    return work(layers);
  } finally {
    closeQuietly(layers);
  }
}
