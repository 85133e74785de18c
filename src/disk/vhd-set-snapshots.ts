import { isGuid, parseGuid, randomGuid, ZERO_GUID } from '../binary/index.ts';
import { HvError } from '../errors/index.ts';
import type { VhdSetState } from '../formats/vhdset/index.ts';
import { addFiles, changeSet, planFile, saveAndRemove } from './vhd-set-change.ts';
import type { VhdSetInfo, VhdSetOptions } from './vhd-set-info.ts';
import type { VhdSetStore } from './vhd-set-store.ts';

export interface TakeSetSnapshotOptions extends VhdSetOptions {
  /** Default: a new one. */
  readonly snapshotId?: string | undefined;
  /** The snapshot gets a file of its own that may be made the default leaf and written to. */
  readonly isWriteable?: boolean | undefined;
  /** The change tracking id of this moment. */
  readonly rctId?: string | undefined;
}

/**
 * Keeps the set's disk as it is now; what is written from here on goes into a new file. The disk must not be in use.
 * Windows: TakeSnapshotVhdSet (virtdisk.h).
 * @throws HvError `already-exists` (the id), `in-use`, `invalid-argument`, `no-space`, `unsupported` (too deep), `io`, `aborted`
 */
export async function takeVhdSetSnapshot(path: string, options: TakeSetSnapshotOptions = {}): Promise<VhdSetInfo> {
  return changeSet(path, options, async (set) => {
    const id = snapshotIdOf(options.snapshotId ?? randomGuid());
    mustBeFreeId(set, id);
    const { state } = set;
    const frozen = set.file(state.leafId);
    const leaf = planFile(set, frozen.id);
    const own = options.isWriteable === true ? planFile(set, frozen.id) : undefined;
    await addFiles(set, options, own ? [leaf, own] : [leaf], (before) => ({
      ...before,
      leafId: leaf.id,
      currentSnapshotId: own ? before.currentSnapshotId : id,
      snapshots: [
        ...before.snapshots,
        {
          id,
          fileId: (own ?? frozen).id,
          creationTime: new Date().toISOString(),
          parentSnapshotId: before.currentSnapshotId,
          isWriteable: own !== undefined,
          rctId: options.rctId ?? null,
        },
      ],
    }));
  });
}

export interface ApplySetSnapshotOptions extends VhdSetOptions {
  /** Keep what the disk holds now as a writeable snapshot of this id. Default: it is discarded. */
  readonly leafSnapshotId?: string | undefined;
  /** Go on in the file of a writeable snapshot itself, which is no snapshot any more then. */
  readonly isWriteable?: boolean | undefined;
}

/**
 * Makes the set's disk what a snapshot is. Windows: ApplySnapshotVhdSet (virtdisk.h).
 * @throws HvError `not-found`, `already-exists` (the leaf's id), `invalid-state`, `in-use`, `no-space`, `unsupported`, `io`, `aborted`
 */
export async function applyVhdSetSnapshot(
  path: string,
  snapshotId: string,
  options: ApplySetSnapshotOptions = {},
): Promise<VhdSetInfo> {
  return changeSet(path, options, async (set) => {
    const snapshot = set.snapshot(snapshotIdOf(snapshotId));
    const { fileId } = snapshot;
    if (fileId === null) {
      throw new HvError('invalid-state', `the snapshot ${snapshot.id} is a reference point: its contents are gone`, {
        detail: { path: set.path, snapshotId: snapshot.id },
      });
    }
    const { leafSnapshotId } = options;
    const keptId = leafSnapshotId === undefined || leafSnapshotId === ZERO_GUID ? null : snapshotIdOf(leafSnapshotId);
    if (keptId !== null) mustBeFreeId(set, keptId);
    const asItself = options.isWriteable === true;
    if (asItself && (!snapshot.isWriteable || set.childrenOf(fileId).length > 0)) {
      throw new HvError('invalid-state', `the snapshot ${snapshot.id} is not writeable, or others stand on it`, {
        detail: { path: set.path, snapshotId: snapshot.id },
      });
    }
    const leaf = asItself ? undefined : planFile(set, fileId);
    await addFiles(set, options, leaf ? [leaf] : [], (before) => {
      const kept = before.snapshots.filter(({ id }) => !(asItself && id === snapshot.id));
      const oldLeaf = {
        id: keptId ?? '',
        fileId: before.leafId,
        creationTime: new Date().toISOString(),
        parentSnapshotId: before.currentSnapshotId,
        isWriteable: true,
        rctId: null,
      };
      const after: VhdSetState = {
        ...before,
        leafId: leaf?.id ?? fileId,
        currentSnapshotId: asItself ? snapshot.parentSnapshotId : snapshot.id,
        snapshots: keptId === null ? kept : [...kept, oldLeaf],
      };
      return asItself ? withoutSnapshotLinks(after, snapshot.id, snapshot.parentSnapshotId) : after;
    });
  });
}

export interface DeleteSetSnapshotOptions extends VhdSetOptions {
  /** Keep the entry as a reference point, for change tracking. */
  readonly persistRct?: boolean | undefined;
}

/**
 * Forgets a snapshot. Its file goes when nothing stands on it; else it stays until the set is optimized.
 * Windows: DeleteSnapshotVhdSet (virtdisk.h).
 * @throws HvError `not-found`, `in-use`, `io`, `aborted`
 */
export async function deleteVhdSetSnapshot(
  path: string,
  snapshotId: string,
  options: DeleteSetSnapshotOptions = {},
): Promise<VhdSetInfo> {
  return changeSet(path, options, async (set) => {
    const { id, parentSnapshotId } = set.snapshot(snapshotIdOf(snapshotId));
    const { state } = set;
    const after: VhdSetState =
      options.persistRct === true
        ? { ...state, snapshots: state.snapshots.map((one) => (one.id === id ? { ...one, fileId: null } : one)) }
        : withoutSnapshotLinks(
            { ...state, snapshots: state.snapshots.filter((one) => one.id !== id) },
            id,
            parentSnapshotId,
          );
    await saveAndRemove(set, after, options);
  });
}

export function withoutSnapshotLinks(state: VhdSetState, id: string, parentId: string | null): VhdSetState {
  return {
    ...state,
    currentSnapshotId: state.currentSnapshotId === id ? parentId : state.currentSnapshotId,
    snapshots: state.snapshots.map((one) =>
      one.parentSnapshotId === id ? { ...one, parentSnapshotId: parentId } : one,
    ),
  };
}

export function snapshotIdOf(text: string): string {
  if (isGuid(text) && parseGuid(text) !== ZERO_GUID) return parseGuid(text);
  throw new HvError('invalid-argument', `${JSON.stringify(text)} is no id of a snapshot: it must be a GUID`);
}

function mustBeFreeId(set: VhdSetStore, id: string): void {
  if (!set.state.snapshots.some((snapshot) => snapshot.id === id)) return;
  throw new HvError('already-exists', `${set.path} has a snapshot ${id} already`, {
    detail: { path: set.path, snapshotId: id },
  });
}
