import { realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import type { LongOptions } from '../async/index.ts';
import { HvError, isHvError } from '../errors/index.ts';
import type { AttachedDisk, MountVhdOptions, MountWayFinding } from './attached-disk.ts';
import { type BackupOptions, type BackupResult, backupDisk } from './backup.ts';
import type { ChangeTrackingInfo, DiskChanges } from './chain-changes.ts';
import { changeIdentity, type IdentityChange } from './change-identity.ts';
import {
  changeTrackingState,
  disableChangeTracking,
  enableChangeTracking,
  type FileQueryOptions,
  queryChanges,
  takeReferencePoint,
} from './changed-blocks.ts';
import { type CheckVhdOptions, checkVhd, type VhdCheck } from './check.ts';
import { type CompactOptions, type CompactResult, compactVhd } from './compact.ts';
import { type CompareOptions, type CompareResult, compareVhds } from './compare.ts';
import { type ConvertOptions, type ConvertResult, convertVhd } from './convert.ts';
import { type CreateVhdOptions, createVhd } from './create-vhd.ts';
import { type CreateVhdSetOptions, createVhdSet } from './create-vhd-set.ts';
import { type DependenciesOptions, type DiskDependencies, diskDependencies } from './dependencies.ts';
import { isVhdSet } from './disk-format.ts';
import { type ForkVhdOptions, forkVhd } from './fork.ts';
import { type HashOptions, type HashResult, hashVhd } from './hash.ts';
import { knownChildren } from './known-children.ts';
import { type MapEntry, type MapOptions, mapVhd } from './map.ts';
import { type MergeResult, type MergeStep, type MergeVhdOptions, mergeSteps, mergeVhd } from './merge-vhd.ts';
import { type BreakMirrorOptions, type BrokenMirror, noDriveOf } from './mirror.ts';
import { type ResizeOptions, type ResizeResult, resizeVhd } from './resize.ts';
import { type SetParentOptions, setParent } from './set-parent.ts';
import {
  deleteUserMetadata,
  getUserMetadata,
  listUserMetadata,
  setUserMetadata,
  type UserMetadataItem,
} from './user-metadata.ts';
import { type VhdInfo, type VhdInfoOptions, vhdInfo } from './vhd-info.ts';
import { type VhdSetInfo, type VhdSetOptions, vhdSetInfo } from './vhd-set-info.ts';
import { modifyVhdSet, optimizeVhdSet, type VhdSetChange } from './vhd-set-modify.ts';
import {
  type ApplySetSnapshotOptions,
  applyVhdSetSnapshot,
  type DeleteSetSnapshotOptions,
  deleteVhdSetSnapshot,
  type TakeSetSnapshotOptions,
  takeVhdSetSnapshot,
} from './vhd-set-snapshots.ts';
import { lockVhdSetLeaf, setsKeeping } from './vhd-set-store.ts';

/** A machine that uses a disk file. */
export interface DiskUser {
  readonly id: string;
  readonly name: string;
  /** Written to as a drive (now, or by a snapshot's layer), or read under one. */
  readonly as: 'drive' | 'parent';
  /** Why the file must not change behind the machine's back; null where it may: its own drive, off, without snapshots. */
  readonly conflict: string | null;
}

/** For every call that writes to a disk file. */
export interface ChangeOptions extends LongOptions {
  /** Write even to what other disks, snapshots or a saved machine stand on. Never breaks the lock of a disk in use. */
  readonly force?: boolean | undefined;
}

export interface MayChangeOptions extends Pick<ChangeOptions, 'force' | 'signal'> {
  /** Children that the change itself takes care of: absolute paths without links. */
  readonly except?: readonly string[] | undefined;
}

/**
 * A host's virtual disks, as files: what every engine on such a system offers, and all there is where there is none.
 * Each method that writes first asks who stands on the file.
 */
export class FileDisks {
  async create(path: string, options: CreateVhdOptions & LongOptions): Promise<VhdInfo> {
    return createVhd(resolve(path), options);
  }

  async info(path: string, options: VhdInfoOptions = {}): Promise<VhdInfo> {
    return vhdInfo(resolve(path), options);
  }

  async setParent(path: string, parentPath: string, options: SetParentOptions & ChangeOptions = {}): Promise<VhdInfo> {
    await this.mayChange(path, options);
    await setParent(resolve(path), resolve(parentPath), options);
    return vhdInfo(resolve(path), { allowParents: options.allowParents });
  }

  /** Only a host with machines has what writes to a disk while it is mirrored. */
  async mirror(path: string, _targetPath: string, _options: LongOptions = {}): Promise<void> {
    throw noDriveOf(path);
  }

  async breakMirror(path: string, _options: BreakMirrorOptions = {}): Promise<BrokenMirror> {
    throw noDriveOf(path);
  }

  async merge(path: string, options: MergeVhdOptions & ChangeOptions = {}): Promise<MergeResult> {
    if (options.force !== true) {
      for (const step of mergeSteps(resolve(path), options)) await this.#mayMerge(step, options);
    }
    return mergeVhd(resolve(path), options);
  }

  async #refuseUsed(path: string, usedPath: string, judged: ReadonlySet<string> = new Set()): Promise<void> {
    for (const { id, name, conflict } of await this.users(usedPath)) {
      if (conflict === null || judged.has(id)) continue;
      throw new HvError('in-use', `${path} is used by the machine "${name}", ${conflict}`, {
        detail: { path, vm: name, id, conflict },
        hint: 'Change it through the machine, or use --force.',
      });
    }
  }

  async #mayMerge({ path, childPath, isMerged }: MergeStep, options: MergeVhdOptions & ChangeOptions): Promise<void> {
    const { signal, keepFiles = false } = options;
    // The source itself is only read; disks that stand on it are linked anew when it goes.
    const except = childPath === undefined ? (await knownChildren(path, { signal })).paths : [childPath];
    await this.mayChange(path, { signal, except });
    if (isMerged && !keepFiles) refuseKept(path, true);
    const [user] = isMerged && !keepFiles ? await this.users(path) : [];
    if (!user) return;
    throw new HvError('in-use', `${path} is a disk of the machine "${user.name}", which a merge would remove`, {
      detail: { path, vm: user.name, id: user.id },
      hint: 'Keep the merged files with --keep, or detach the disk first; or use --force.',
    });
  }

  async check(path: string, options: CheckVhdOptions & ChangeOptions = {}): Promise<VhdCheck> {
    if (options.repair) await this.mayChange(path, options);
    return checkVhd(resolve(path), options);
  }

  async resize(
    path: string,
    sizeBytes: number | 'minimum',
    options: ResizeOptions & ChangeOptions = {},
  ): Promise<ResizeResult> {
    await this.mayChange(path, options);
    return resizeVhd(resolve(path), sizeBytes, options);
  }

  async compact(path: string, options: CompactOptions & ChangeOptions = {}): Promise<CompactResult> {
    // Without a look into file systems the disk holds what it held, bit for bit: nobody who stands on it is ruined.
    if (options.freeSpace !== false) await this.mayChange(path, options);
    return compactVhd(resolve(path), options);
  }

  async set(path: string, change: IdentityChange, options: ChangeOptions = {}): Promise<VhdInfo> {
    await this.mayChange(path, options);
    await changeIdentity(resolve(path), change);
    return vhdInfo(resolve(path));
  }

  async listMetadata(path: string): Promise<readonly UserMetadataItem[]> {
    return listUserMetadata(resolve(path));
  }

  async getMetadata(path: string, id: string): Promise<Uint8Array> {
    return getUserMetadata(resolve(path), id);
  }

  async setMetadata(path: string, id: string, bytes: Uint8Array, options: ChangeOptions = {}): Promise<void> {
    await this.mayChange(path, options);
    await setUserMetadata(resolve(path), id, bytes);
  }

  async deleteMetadata(path: string, id: string, options: ChangeOptions = {}): Promise<void> {
    await this.mayChange(path, options);
    await deleteUserMetadata(resolve(path), id);
  }

  async dependencies(path: string, options: DependenciesOptions = {}): Promise<DiskDependencies> {
    return diskDependencies(resolve(path), options);
  }

  async changeTracking(path: string): Promise<ChangeTrackingInfo> {
    return changeTrackingState(resolve(path));
  }

  async enableChangeTracking(path: string): Promise<ChangeTrackingInfo> {
    return enableChangeTracking(resolve(path));
  }

  async disableChangeTracking(path: string): Promise<ChangeTrackingInfo> {
    return disableChangeTracking(resolve(path));
  }

  async takeReferencePoint(path: string): Promise<string> {
    return takeReferencePoint(resolve(path));
  }

  async queryChanges(path: string, sinceId: string, options: FileQueryOptions = {}): Promise<DiskChanges> {
    return queryChanges(resolve(path), sinceId, options);
  }

  async backup(path: string, targetPath: string, options: BackupOptions = {}): Promise<BackupResult> {
    return backupDisk(resolve(path), resolve(targetPath), options);
  }

  async convert(sourcePath: string, path: string, options: ConvertOptions = {}): Promise<ConvertResult> {
    return convertVhd(resolve(sourcePath), resolve(path), options);
  }

  async compare(firstPath: string, secondPath: string, options: CompareOptions = {}): Promise<CompareResult> {
    return compareVhds(resolve(firstPath), resolve(secondPath), options);
  }

  async map(path: string, options: MapOptions = {}): Promise<MapEntry[]> {
    return mapVhd(resolve(path), options);
  }

  async hash(path: string, options: HashOptions = {}): Promise<HashResult> {
    return hashVhd(resolve(path), options);
  }

  async fork(path: string, newPath: string, options: ForkVhdOptions & ChangeOptions = {}): Promise<VhdInfo> {
    if (options.existing === true) await this.mayChange(newPath, { force: options.force, signal: options.signal });
    return forkVhd(resolve(path), resolve(newPath), options);
  }

  async createSet(path: string, options: CreateVhdSetOptions): Promise<VhdSetInfo> {
    return createVhdSet(resolve(path), options);
  }

  async setInfo(path: string, options: VhdSetOptions = {}): Promise<VhdSetInfo> {
    return vhdSetInfo(resolve(path), options);
  }

  async takeSetSnapshot(path: string, options: TakeSetSnapshotOptions & ChangeOptions = {}): Promise<VhdSetInfo> {
    await this.#mayChangeSet(path, options);
    return takeVhdSetSnapshot(resolve(path), options);
  }

  async applySetSnapshot(
    path: string,
    snapshotId: string,
    options: ApplySetSnapshotOptions & ChangeOptions = {},
  ): Promise<VhdSetInfo> {
    await this.#mayChangeSet(path, options);
    return applyVhdSetSnapshot(resolve(path), snapshotId, options);
  }

  async deleteSetSnapshot(
    path: string,
    snapshotId: string,
    options: DeleteSetSnapshotOptions & ChangeOptions = {},
  ): Promise<VhdSetInfo> {
    await this.#mayChangeSet(path, options);
    return deleteVhdSetSnapshot(resolve(path), snapshotId, options);
  }

  async modifySet(
    path: string,
    change: VhdSetChange,
    options: VhdSetOptions & ChangeOptions = {},
  ): Promise<VhdSetInfo> {
    await this.#mayChangeSet(path, options);
    return modifyVhdSet(resolve(path), change, options);
  }

  async optimizeSet(path: string, options: VhdSetOptions & ChangeOptions = {}): Promise<VhdSetInfo> {
    await this.#mayChangeSet(path, options);
    return optimizeVhdSet(resolve(path), options);
  }

  /** A set is asked for as a whole: who uses it, and who uses one of its files by its own name. */
  async #mayChangeSet(path: string, options: VhdSetOptions & ChangeOptions): Promise<void> {
    await this.mayChange(path, { force: options.force, signal: options.signal });
    if (options.force === true) return;
    const { allPaths } = await vhdSetInfo(resolve(path), { allowParents: options.allowParents });
    const own = new Set((await this.users(resolve(path))).map(({ id }) => id));
    for (const file of allPaths) {
      const user = (await this.users(file)).find(({ id }) => !own.has(id));
      if (!user) continue;
      throw new HvError('in-use', `${file}, a file of ${path}, is used by the machine "${user.name}"`, {
        detail: { path, file, vm: user.name, id: user.id },
        hint: 'Let the machine use the set itself, or use --force.',
      });
    }
  }

  /** Showing a disk takes a process that outlives this one, which a host with an engine starts. @throws `unsupported` */
  async mount(path: string, _options: MountVhdOptions = {}): Promise<AttachedDisk> {
    throw noMounts(path);
  }

  /** @throws `unsupported` */
  async dismount(path: string, _options: Pick<LongOptions, 'signal'> = {}): Promise<void> {
    throw noMounts(path);
  }

  /** How this host can show disks, best first, and what it lacks for the rest: nothing without an engine. */
  async mountWays(): Promise<readonly MountWayFinding[]> {
    return [];
  }

  /** The disks that this host shows: none without an engine. */
  async attached(): Promise<readonly AttachedDisk[]> {
    return [];
  }

  /** The machines that use a file. Without an engine there are none. */
  async users(_path: string): Promise<readonly DiskUser[]> {
    return [];
  }

  /**
   * Refuses a change that would ruin something else: the disk of a saved machine, a layer under a snapshot, a parent whose
   * children lie beside it. A file that is not there is nobody's: opening it says so.
   * @throws HvError `in-use`, naming who stands on the file; `aborted`
   */
  async mayChange(path: string, options: MayChangeOptions = {}): Promise<void> {
    if (options.force === true) return;
    await this.#mayChange(path, options, new Set());
    const leafPath = isVhdSet(path) ? leafOf(path) : undefined;
    if (leafPath === undefined) return;
    // Whoever uses the set stands on its disk, too, and has been judged.
    const ofSet = (await this.users(resolve(path))).map(({ id }) => id);
    await this.#mayChange(leafPath, options, new Set(ofSet));
  }

  async #mayChange(path: string, options: MayChangeOptions, judged: ReadonlySet<string>): Promise<void> {
    await this.#refuseUsed(path, resolve(path), judged);
    // A machine may use the file through its set.
    for (const { setPath } of setsOf(path)) await this.#refuseUsed(path, setPath);
    refuseKept(path, false);
    await refuseParent(path, options);
  }
}

function noMounts(path: string): HvError {
  return new HvError('unsupported', `${path} cannot be mounted: this system has no engine that shows disks`, {
    detail: { path },
    hint: 'Copy out of it with hv vhd convert, or serve it with hv vhd serve.',
  });
}

/** The disk file that a set has now. */
function leafOf(setPath: string): string | undefined {
  try {
    const leaf = lockVhdSetLeaf(resolve(setPath), {});
    leaf.release();
    return leaf.path;
  } catch (error) {
    if (isHvError(error)) return undefined; // Opening it says why.
    throw error;
  }
}

/** A set's files are its own: only the one in use may be written to, and none may go. */
function refuseKept(path: string, isRemoved: boolean): void {
  for (const { setPath, isLeaf } of setsOf(path)) {
    if (isLeaf && !isRemoved) continue;
    throw new HvError('in-use', `${path} belongs to the VHD Set ${setPath}`, {
      detail: { path, setPath, isLeaf },
      hint: 'Change it through the set, with hv vhdset; or use --force.',
    });
  }
}

function setsOf(path: string): ReturnType<typeof setsKeeping> {
  try {
    return setsKeeping(realpathSync(resolve(path)));
  } catch (error) {
    if (isHvError(error)) throw error;
    return []; // Opening it says why.
  }
}

async function refuseParent(path: string, { except = [], signal }: MayChangeOptions): Promise<void> {
  let children: readonly string[];
  try {
    children = (await knownChildren(resolve(path), { signal })).paths;
  } catch (error) {
    if (isHvError(error, 'aborted')) throw error;
    return;
  }
  const others = children.filter((child) => !except.includes(child));
  const [first] = others;
  if (first === undefined) return;
  const more = others.length > 1 ? ` and ${others.length - 1} more` : '';
  throw new HvError('in-use', `${path} is the parent of ${first}${more}`, {
    detail: { path, children: others },
    hint: 'A change of it ruins its children. Merge or remove them first, or use --force.',
  });
}
