import { existsSync, unlinkSync } from 'node:fs';
import { basename, dirname, extname, join } from 'node:path';
import { throwIfAborted } from '../async/index.ts';
import { randomGuid } from '../binary/index.ts';
import { fromSystemError, HvError, isHvError, isSystemError } from '../errors/index.ts';
import type { SetFile, VhdSetState } from '../formats/vhdset/index.ts';
import { goOnTracking } from './changed-blocks.ts';
import { syncFolder } from './create-file.ts';
import { createVhd } from './create-vhd.ts';
import { knownChildren } from './known-children.ts';
import { mergeVhd } from './merge-vhd.ts';
import { openImageFile } from './open-file.ts';
import { readLink } from './read-link.ts';
import { setParent } from './set-parent.ts';
import { removeTrackingFile } from './tracking-file.ts';
import { infoOf, type VhdSetInfo, type VhdSetOptions } from './vhd-set-info.ts';
import { VhdSetStore } from './vhd-set-store.ts';

/** Opens a set for a change: what an earlier one left half done is finished first. */
export async function changeSet(
  path: string,
  options: VhdSetOptions,
  change: (set: VhdSetStore) => Promise<void> | void,
): Promise<VhdSetInfo> {
  throwIfAborted(options.signal, 'changing the VHD Set');
  const set = VhdSetStore.open(path, options.dryRun === true ? 'plan' : 'write', options);
  try {
    await finishMerge(set, options);
    removeLeftovers(set);
    await change(set);
    return infoOf(set);
  } finally {
    set.close();
  }
}

/** Makes files over a frozen one and takes them into the set, as one; without them, nothing has changed. */
export async function addFiles(
  set: VhdSetStore,
  options: VhdSetOptions,
  added: readonly SetFile[],
  next: (before: VhdSetState) => VhdSetState,
): Promise<void> {
  const before = set.state;
  const oldLeaf = openImageFile(set.leafPath, { access: 'read' });
  try {
    if (added.length > 0) {
      set.save({ ...before, leftovers: [...before.leftovers, ...added.map(({ path }) => path)] });
    }
    for (const file of added) {
      const parentPath = set.pathOf(set.file(file.parentId ?? '').path);
      const { allowParents, isPlan } = set;
      await createVhd(set.pathOf(file.path), { parentPath, format: 'vhdx', allowParents, dryRun: isPlan });
      if (!isPlan) await goOnTracking(parentPath, set.pathOf(file.path));
    }
    oldLeaf.store.close();
    await saveAndRemove(set, next({ ...before, files: [...before.files, ...added] }), options);
  } catch (error) {
    removeLeftovers(set);
    throw error;
  } finally {
    oldLeaf.store.close();
  }
}

/** Saves a state without the files that it no longer needs, then removes those. */
export async function saveAndRemove(set: VhdSetStore, after: VhdSetState, options: VhdSetOptions): Promise<void> {
  const files = neededFiles(after);
  const needed = new Set(files.map(({ id }) => id));
  const dropped = after.files.filter(({ id }) => !needed.has(id)).map(({ path }) => path);
  const there = dropped.map((path) => set.pathOf(path)).filter((path) => existsSync(path));
  await refuseStrangers(set, there, options);
  const locks: ReturnType<typeof openImageFile>[] = [];
  try {
    // Who reads one of them, or writes to it, keeps it: nothing has changed then.
    for (const path of there) locks.push(openImageFile(path, { access: 'write' }));
    set.save({ ...after, files, leftovers: dropped });
  } finally {
    for (const lock of locks) lock.store.close();
  }
  removeLeftovers(set);
}

/** The leaf's and the snapshots' files, and all under them. */
export function neededFiles(state: VhdSetState): SetFile[] {
  const byId = new Map(state.files.map((file) => [file.id, file]));
  const needed = new Set<string>();
  for (const start of [state.leafId, state.merging?.fileId, ...state.snapshots.map(({ fileId }) => fileId)]) {
    for (let at = byId.get(start ?? ''); at && !needed.has(at.id); at = byId.get(at.parentId ?? '')) needed.add(at.id);
  }
  return state.files.filter(({ id }) => needed.has(id));
}

/** A file that alone stands on one that nothing else needs: its contents go down, and it takes the lower one's place. */
export function nextMerge(state: VhdSetState): SetFile | undefined {
  const named = new Set([state.leafId, ...state.snapshots.map(({ fileId }) => fileId)]);
  const children = new Map<string, SetFile[]>();
  for (const file of state.files) {
    if (file.parentId !== null) children.set(file.parentId, [...(children.get(file.parentId) ?? []), file]);
  }
  for (const { id } of state.files) {
    const [only, ...others] = children.get(id) ?? [];
    if (only && others.length === 0 && !named.has(id)) return only;
  }
  return undefined;
}

/**
 * Finishes a merge inside the set. At every moment the set reads the same: the merged file stays, valid above the lower
 * one, until nothing stands on it; and once everything is copied, the lower one is written no more.
 */
export async function finishMerge(set: VhdSetStore, options: VhdSetOptions): Promise<void> {
  const { merging } = set.state;
  if (!merging || set.isPlan) return;
  const upper = set.file(merging.fileId);
  const lower = set.file(upper.parentId ?? '');
  const [upperPath, lowerPath] = [set.pathOf(upper.path), set.pathOf(lower.path)];
  const allowParents = set.allowParents;
  if (!merging.isCopied) {
    await refuseStrangers(set, [upperPath, lowerPath], options);
    await mergeVhd(upperPath, { ...options, keepFiles: true, allowParents });
    set.save({ ...set.state, merging: { ...merging, isCopied: true } });
  }
  for (const child of set.childrenOf(upper.id)) {
    await setParent(set.pathOf(child.path), lowerPath, { holdsSame: true, allowParents });
  }
  const files = set.state.files
    .filter(({ id }) => id !== lower.id)
    .map((file) => (file.id === upper.id ? { ...lower, id: upper.id } : file));
  set.save({ ...set.state, files, merging: null, leftovers: [...set.state.leftovers, upper.path] });
  removeLeftovers(set);
}

/** Disks that stand on the set's files and are not of the set would be ruined. */
async function refuseStrangers(set: VhdSetStore, paths: readonly string[], options: VhdSetOptions): Promise<void> {
  const own = new Set(set.state.files.map(({ path }) => set.pathOf(path)));
  for (const path of paths) {
    const strangers = (await knownChildren(path, { signal: options.signal })).paths.filter((child) => !own.has(child));
    if (strangers.length === 0) continue;
    throw new HvError('in-use', `${path} is the parent of ${strangers[0]}, which is not of the set`, {
      detail: { path, children: strangers },
      hint: 'Merge or remove that disk first.',
    });
  }
}

/**
 * Removes what belongs to the set no more, or not yet. A container is a file like any other: what it names is removed
 * only when it is a disk of this set and lies where its files may lie. What somebody uses waits for the next time.
 */
function removeLeftovers(set: VhdSetStore): void {
  const { leftovers } = set.state;
  if (leftovers.length === 0 || set.isPlan) return;
  const inUse: string[] = [];
  for (const said of leftovers) {
    const path = set.pathOf(said);
    const judged = judgeLeftover(set, path);
    if (judged === 'ours') {
      removeFile(path);
      removeTrackingFile(path);
    }
    if (judged === 'in-use') inUse.push(said);
  }
  if (inUse.length < leftovers.length) set.save({ ...set.state, leftovers: inUse });
}

function judgeLeftover(set: VhdSetStore, path: string): 'ours' | 'in-use' | 'foreign' {
  if (!existsSync(path) || set.state.files.some((file) => set.pathOf(file.path) === path)) return 'foreign';
  try {
    const { store } = openImageFile(path, { access: 'write' });
    try {
      return readLink(store).virtualDiskId === set.state.virtualDiskId ? 'ours' : 'foreign';
    } finally {
      store.close();
    }
  } catch (error) {
    if (isHvError(error, 'in-use')) return 'in-use';
    if (isHvError(error, 'corrupt') || isHvError(error, 'unsupported')) return 'foreign';
    throw error;
  }
}

export function planFile(set: VhdSetStore, parentId: string): SetFile {
  const id = randomGuid();
  const folder = set.state.defaultPath === null ? set.folder : set.pathOf(set.state.defaultPath);
  return { id, path: set.said(newFilePath(set.path, folder, id)), parentId };
}

/** `disk.vhds` has its files in `disk_<id>.avhdx`, as Windows names them. */
export function newFilePath(setPath: string, folder: string, id: string): string {
  return join(folder, `${basename(setPath, extname(setPath)).slice(0, 150)}_${id}.avhdx`);
}

export function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT')) throw fromSystemError(error, `could not remove ${path}`, { path });
  }
  syncFolder(dirname(path));
}
