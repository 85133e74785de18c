import { existsSync, lstatSync, realpathSync, statSync, unlinkSync } from 'node:fs';
import { basename, dirname, extname, join } from 'node:path';
import { type LongOptions, throwIfAborted } from '../async/index.ts';
import { isGuid, parseGuid, randomGuid, ZERO_GUID } from '../binary/index.ts';
import { fromSystemError, HvError, isHvError, isSystemError } from '../errors/index.ts';
import { createVhdSetContainer, readVhdSet, type SetFile, type VhdSetState } from '../formats/vhdset/index.ts';
import { goOnTracking } from './changed-blocks.ts';
import { createFile, syncFolder } from './create-file.ts';
import { type CreateVhdOptions, createVhd } from './create-vhd.ts';
import { knownChildren } from './known-children.ts';
import { mergeVhd } from './merge-vhd.ts';
import { openImageFile } from './open-file.ts';
import { openToLook, readLink } from './read-link.ts';
import { setParent } from './set-parent.ts';
import { removeTrackingFile } from './tracking-file.ts';
import { placeInSet, type SetPlaces, saidInSet, VhdSetStore } from './vhd-set-store.ts';

export interface VhdSetOptions extends SetPlaces, LongOptions {
  /** Check everything, change nothing, and answer what the set would be. */
  readonly dryRun?: boolean | undefined;
}

export interface CreateVhdSetOptions extends VhdSetOptions, Pick<CreateVhdOptions, 'sizeBytes' | 'blockSizeBytes'> {
  readonly type?: 'dynamic' | 'fixed' | undefined;
  readonly logicalSectorSizeBytes?: number | undefined;
  /** An existing VHDX file, in the set's folder or below, that becomes the set's disk in its place. */
  readonly fromPath?: string | undefined;
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

/** What a new set begins with. */
interface NewSet {
  readonly target: string;
  readonly leafId: string;
  readonly leafPath: string;
  readonly isLeafNew: boolean;
}

/** Everything that createVhdSet refuses, before anything is made. @returns where the disk of the set would lie */
export async function checkNewVhdSet(path: string, options: CreateVhdSetOptions): Promise<string> {
  return (await planSet(path, options)).leafPath;
}

async function planSet(path: string, options: CreateVhdSetOptions): Promise<NewSet> {
  throwIfAborted(options.signal, 'creating the VHD Set');
  if (extname(path).toLowerCase() !== '.vhds') {
    throw new HvError('invalid-argument', `the name of a VHD Set ends in .vhds: ${path} does not`, {
      detail: { path },
    });
  }
  if ((options.fromPath === undefined) === (options.sizeBytes === undefined)) {
    throw new HvError('invalid-argument', 'a new VHD Set needs either a size or an existing disk');
  }
  const target = inRealFolder(path);
  if (lstatSync(target, { throwIfNoEntry: false })) {
    throw new HvError('already-exists', `could not create ${target}: it exists already`, { detail: { path: target } });
  }
  const leafId = randomGuid();
  if (options.fromPath !== undefined) {
    const leafPath = realpathOf(options.fromPath);
    readFirstDisk(leafPath);
    placeInSet(target, leafPath, options);
    return { target, leafId, leafPath, isLeafNew: false };
  }
  const leafPath = newFilePath(target, dirname(target), leafId);
  await createVhd(leafPath, { ...diskOptions(options), dryRun: true });
  return { target, leafId, leafPath, isLeafNew: true };
}

function diskOptions(options: CreateVhdSetOptions): CreateVhdOptions {
  const { sizeBytes, type, blockSizeBytes, logicalSectorSizeBytes, signal } = options;
  return { sizeBytes, type, blockSizeBytes, logicalSectorSizeBytes, signal, format: 'vhdx' };
}

/** The id of the disk that a set begins with. @throws HvError `in-use`, `unsupported`, `not-found`, `corrupt` */
function readFirstDisk(leafPath: string): string {
  const { file, inUse } = openToLook(leafPath);
  try {
    if (inUse) throw new HvError('in-use', `${leafPath} is in use`, { detail: { path: leafPath } });
    const { virtualDiskId, type, format } = readLink(file.store);
    if (type !== 'differencing' && format === 'vhdx') return virtualDiskId;
    throw new HvError('unsupported', `a VHD Set begins with a VHDX file without a parent; ${leafPath} is none`, {
      detail: { path: leafPath },
    });
  } finally {
    file.store.close();
  }
}

/**
 * Makes a VHD Set: a `.vhds` file, and beside it the disk that it begins with, unless that exists already.
 * @throws HvError `already-exists`, `invalid-argument`, `not-found`, `permission-denied`, `no-space`, `unsupported`, `io`, `aborted`
 */
export async function createVhdSet(path: string, options: CreateVhdSetOptions): Promise<VhdSetInfo> {
  const { target, leafId, leafPath, isLeafNew } = await planSet(path, options);
  if (isLeafNew) await createVhd(leafPath, diskOptions(options));
  try {
    return publish(target, leafId, leafPath, readFirstDisk(leafPath), options);
  } catch (error) {
    if (isLeafNew) removeFile(leafPath);
    throw error;
  }
}

function publish(
  target: string,
  leafId: string,
  leafPath: string,
  virtualDiskId: string,
  places: SetPlaces,
): VhdSetInfo {
  const state: VhdSetState = {
    virtualDiskId,
    leafId,
    currentSnapshotId: null,
    defaultPath: null,
    files: [{ id: leafId, path: saidInSet(target, placeInSet(target, leafPath, places)), parentId: null }],
    snapshots: [],
    leftovers: [],
    merging: null,
  };
  const file = createFile(target, (store) => void createVhdSetContainer(store, randomGuid(), state));
  try {
    return infoOf(new VhdSetStore(file, readVhdSet(file.store), places));
  } finally {
    file.store.close();
  }
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

/** Opens a set for a change: what an earlier one left half done is finished first. */
async function changeSet(
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
async function addFiles(
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
async function saveAndRemove(set: VhdSetStore, after: VhdSetState, options: VhdSetOptions): Promise<void> {
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
function neededFiles(state: VhdSetState): SetFile[] {
  const byId = new Map(state.files.map((file) => [file.id, file]));
  const needed = new Set<string>();
  for (const start of [state.leafId, state.merging?.fileId, ...state.snapshots.map(({ fileId }) => fileId)]) {
    for (let at = byId.get(start ?? ''); at && !needed.has(at.id); at = byId.get(at.parentId ?? '')) needed.add(at.id);
  }
  return state.files.filter(({ id }) => needed.has(id));
}

function withoutSnapshotLinks(state: VhdSetState, id: string, parentId: string | null): VhdSetState {
  return {
    ...state,
    currentSnapshotId: state.currentSnapshotId === id ? parentId : state.currentSnapshotId,
    snapshots: state.snapshots.map((one) =>
      one.parentSnapshotId === id ? { ...one, parentSnapshotId: parentId } : one,
    ),
  };
}

/** A file that alone stands on one that nothing else needs: its contents go down, and it takes the lower one's place. */
function nextMerge(state: VhdSetState): SetFile | undefined {
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
async function finishMerge(set: VhdSetStore, options: VhdSetOptions): Promise<void> {
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

function infoOf(set: VhdSetStore): VhdSetInfo {
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

function planFile(set: VhdSetStore, parentId: string): SetFile {
  const id = randomGuid();
  const folder = set.state.defaultPath === null ? set.folder : set.pathOf(set.state.defaultPath);
  return { id, path: set.said(newFilePath(set.path, folder, id)), parentId };
}

/** `disk.vhds` has its files in `disk_<id>.avhdx`, as Windows names them. */
function newFilePath(setPath: string, folder: string, id: string): string {
  return join(folder, `${basename(setPath, extname(setPath)).slice(0, 150)}_${id}.avhdx`);
}

function snapshotIdOf(text: string): string {
  if (isGuid(text) && parseGuid(text) !== ZERO_GUID) return parseGuid(text);
  throw new HvError('invalid-argument', `${JSON.stringify(text)} is no id of a snapshot: it must be a GUID`);
}

function mustBeFreeId(set: VhdSetStore, id: string): void {
  if (!set.state.snapshots.some((snapshot) => snapshot.id === id)) return;
  throw new HvError('already-exists', `${set.path} has a snapshot ${id} already`, {
    detail: { path: set.path, snapshotId: id },
  });
}

function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT')) throw fromSystemError(error, `could not remove ${path}`, { path });
  }
  syncFolder(dirname(path));
}

function inRealFolder(path: string): string {
  try {
    return join(realpathSync(dirname(path)), basename(path));
  } catch (error) {
    throw fromSystemError(error, `could not create ${path}`, { path });
  }
}

function realpathOf(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    throw fromSystemError(error, `could not open ${path}`, { path });
  }
}
