import { statSync } from 'node:fs';
import { HvError } from '../errors/index.ts';
import { openToLook, readLink } from './read-link.ts';
import { setParent } from './set-parent.ts';
import { changeSet, finishMerge, neededFiles, nextMerge } from './vhd-set-change.ts';
import type { VhdSetInfo, VhdSetOptions } from './vhd-set-info.ts';
import { snapshotIdOf, withoutSnapshotLinks } from './vhd-set-snapshots.ts';
import { realpathOf, type VhdSetStore } from './vhd-set-store.ts';

/** What modifyVhdSet changes: one thing a call. */
export type VhdSetChange =
  /** A snapshot's file was moved there. */
  | { readonly kind: 'snapshot-path'; readonly snapshotId: string; readonly path: string }
  /** Forget a snapshot and leave its file where it is. */
  | { readonly kind: 'remove-snapshot'; readonly snapshotId: string }
  /** New files are made in that folder; null: beside the set. */
  | { readonly kind: 'default-path'; readonly path: string | null };

/**
 * Changes what a set says of itself. Windows: ModifyVhdSet (virtdisk.h).
 * @throws HvError `not-found`, `invalid-argument`, `invalid-state`, `parent-changed`, `permission-denied`, `in-use`, `io`, `aborted`
 */
export async function modifyVhdSet(
  path: string,
  change: VhdSetChange,
  options: VhdSetOptions = {},
): Promise<VhdSetInfo> {
  return changeSet(path, options, async (set) => {
    switch (change.kind) {
      case 'snapshot-path':
        return moveSnapshot(set, snapshotIdOf(change.snapshotId), change.path, options);
      case 'remove-snapshot': {
        const { id, parentSnapshotId } = set.snapshot(snapshotIdOf(change.snapshotId));
        const rest = set.state.snapshots.filter((one) => one.id !== id);
        const after = withoutSnapshotLinks({ ...set.state, snapshots: rest }, id, parentSnapshotId);
        return set.save({ ...after, files: neededFiles(after) });
      }
      case 'default-path': {
        const folder = change.path === null ? null : set.pathOf(realpathOf(change.path));
        if (folder !== null && !statSync(folder).isDirectory()) {
          throw new HvError('invalid-argument', `${folder} is not a folder`, { detail: { path: folder } });
        }
        return set.save({ ...set.state, defaultPath: folder === null ? null : set.said(folder) });
      }
      default:
        return change satisfies never;
    }
  });
}

/**
 * Merges away the files that no snapshot needs. Resumed by the next call that changes the set.
 * Windows: Optimize-VHDSet.
 * @throws HvError `in-use`, `no-space`, `parent-changed`, `io`, `aborted`
 */
export async function optimizeVhdSet(path: string, options: VhdSetOptions = {}): Promise<VhdSetInfo> {
  return changeSet(path, options, async (set) => {
    for (let next = nextMerge(set.state); next; next = nextMerge(set.state)) {
      if (set.isPlan) break; // What would go, the set tells anyway: its unneeded files.
      set.save({ ...set.state, merging: { fileId: next.id, isCopied: false } });
      await finishMerge(set, options);
    }
  });
}

async function moveSnapshot(set: VhdSetStore, id: string, path: string, options: VhdSetOptions): Promise<void> {
  const { fileId } = set.snapshot(id);
  if (fileId === null)
    throw new HvError('invalid-state', `the snapshot ${id} has no file`, { detail: { path: set.path } });
  const place = set.pathOf(realpathOf(path));
  const { file } = openToLook(place);
  let link: ReturnType<typeof readLink>;
  try {
    link = readLink(file.store);
  } finally {
    file.store.close();
  }
  const old = set.file(fileId);
  if (link.virtualDiskId !== set.state.virtualDiskId) {
    throw new HvError('parent-changed', `${place} is no file of this VHD Set`, { detail: { path: place } });
  }
  const linked = { ...options, allowParents: set.allowParents, dryRun: set.isPlan };
  if (old.parentId !== null) await setParent(place, set.pathOf(set.file(old.parentId).path), linked);
  for (const child of set.childrenOf(fileId)) await setParent(set.pathOf(child.path), place, linked);
  const files = set.state.files.map((one) => (one.id === fileId ? { ...one, path: set.said(place) } : one));
  set.save({ ...set.state, files });
}
