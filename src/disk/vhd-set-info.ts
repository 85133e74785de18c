import { type LongOptions, throwIfAborted } from '../async/index.ts';
import { type SetPlaces, VhdSetStore } from './vhd-set-store.ts';

export interface VhdSetOptions extends SetPlaces, LongOptions {
  /** Check everything, change nothing, and answer what the set would be. */
  readonly dryRun?: boolean | undefined;
}

export interface VhdSetSnapshotInfo {
  readonly id: string;
  /** The file that holds its contents; null for a reference point. */
  readonly path: string | null;
  readonly creationTime: string;
  readonly parentSnapshotId: string | null;
  /** The files under it, nearest first. */
  readonly parentPaths: readonly string[];
  readonly isWriteable: boolean;
  readonly rctId: string | null;
}

export interface VhdSetInfo {
  readonly path: string;
  readonly setId: string;
  readonly virtualDiskId: string;
  /** The file that is read and written when the set is used. */
  readonly leafPath: string;
  readonly currentSnapshotId: string | null;
  /** Where new files are made. */
  readonly defaultPath: string;
  /** Every disk file of the set. */
  readonly allPaths: readonly string[];
  readonly snapshots: readonly VhdSetSnapshotInfo[];
  /** Files that no snapshot needs and that optimizing would merge away. */
  readonly unneededPaths: readonly string[];
}

/** What a set is. Works while its disk is in use. @throws HvError `not-found`, `corrupt`, `unsupported`, `permission-denied`, `in-use`, `io` */
export async function vhdSetInfo(path: string, options: VhdSetOptions = {}): Promise<VhdSetInfo> {
  throwIfAborted(options.signal);
  const set = VhdSetStore.open(path, 'read', options);
  try {
    return infoOf(set);
  } finally {
    set.close();
  }
}

export function infoOf(set: VhdSetStore): VhdSetInfo {
  const { state } = set;
  const named = new Set([state.leafId, ...state.snapshots.map(({ fileId }) => fileId)]);
  return {
    path: set.path,
    setId: set.setId,
    virtualDiskId: state.virtualDiskId,
    leafPath: set.leafPath,
    currentSnapshotId: state.currentSnapshotId,
    defaultPath: state.defaultPath === null ? set.folder : set.pathOf(state.defaultPath),
    allPaths: state.files.map(({ path }) => set.pathOf(path)),
    snapshots: state.snapshots.map(({ fileId, ...snapshot }) => {
      const [path, ...parentPaths] = fileId === null ? [] : set.chainOf(fileId);
      return { ...snapshot, path: path ?? null, parentPaths };
    }),
    unneededPaths: state.files
      .filter(({ id }) => !named.has(id) && set.childrenOf(id).length === 1)
      .map(({ path }) => set.pathOf(path)),
  };
}
