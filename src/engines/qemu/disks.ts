import { realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { LongOptions } from '../../async/index.ts';
import {
  type AttachedDisk,
  type BackupOptions,
  type BackupResult,
  type BreakMirrorOptions,
  type BrokenMirror,
  type ChangeTrackingInfo,
  type DiskChanges,
  type DiskUser,
  FileDisks,
  type FileQueryOptions,
  type MountVhdOptions,
  type MountWayFinding,
  noDriveOf,
} from '../../disk/index.ts';
import { isHvError } from '../../errors/index.ts';
import type { DiskService } from '../../host/index.ts';
import type { VmDefinition } from '../../state/index.ts';
import type { EngineContext } from './context.ts';
import { namedLayers } from './layers.ts';
import {
  type LiveDrive,
  liveBackup,
  liveChangeTracking,
  liveQueryChanges,
  liveReferencePoint,
} from './live-changes.ts';
import { breakMirror, startMirror } from './mirrors.ts';
import { Mounts } from './mounts/mounts.ts';
import { examineWays } from './mounts/ways.ts';
import { observe } from './observe.ts';

/** Virtual hard disk files, through the engine of disk/. */
export class QemuDiskService extends FileDisks implements DiskService {
  readonly #context: EngineContext;
  readonly #mounts: Mounts;

  constructor(context: EngineContext) {
    super();
    this.#context = context;
    this.#mounts = new Mounts(context.paths);
  }

  override async mount(path: string, options: MountVhdOptions = {}): Promise<AttachedDisk> {
    const isWriting = options.readOnly !== true && (options.mountFileSystems !== true || options.trusted === true);
    if (isWriting) await this.mayChange(path, options);
    return this.#mounts.mount(await canonicalPath(path), options);
  }

  override async dismount(path: string, options: Pick<LongOptions, 'signal'> = {}): Promise<void> {
    await this.#mounts.dismount(await canonicalPath(path), options);
  }

  override mountWays(): Promise<readonly MountWayFinding[]> {
    return examineWays();
  }

  override attached(): Promise<readonly AttachedDisk[]> {
    return this.#mounts.list();
  }

  override async mirror(path: string, targetPath: string, options: LongOptions = {}): Promise<void> {
    const { vmId, driveId } = await this.#driveOf(path);
    const folder = await canonicalPath(dirname(resolve(targetPath)));
    await startMirror(this.#context, vmId, driveId, join(folder, basename(targetPath)), options);
  }

  override async breakMirror(path: string, options: BreakMirrorOptions = {}): Promise<BrokenMirror> {
    const { vmId, driveId } = await this.#driveOf(path);
    const { switchToMirror = false, ...long } = options;
    return breakMirror(this.#context, vmId, driveId, switchToMirror, long);
  }

  /** The drive that a file belongs to: its present file, or the one that was attached. */
  async #driveOf(path: string): Promise<{ readonly vmId: string; readonly driveId: string }> {
    const wanted = await canonicalPath(path);
    for (const definition of await this.#context.store.list()) {
      for (const { id, path: present } of definition.specification.hardDiskDrives) {
        const files = [present, definition.attached[id]].filter((file) => file !== undefined);
        if (await includesPath(files, wanted)) return { vmId: definition.id, driveId: id };
      }
    }
    throw noDriveOf(path);
  }

  override async users(path: string): Promise<DiskUser[]> {
    const wanted = await canonicalPath(path);
    const users: DiskUser[] = [];
    for (const definition of await this.#context.store.list()) {
      const user = { id: definition.id, name: definition.specification.name };
      const mirrors = Object.values(definition.mirrors ?? {});
      const drives = [...namedLayers(definition), ...Object.values(definition.attached)];
      if (await includesPath(drives, wanted)) {
        users.push({ ...user, as: 'drive', conflict: conflictOf(definition) });
      } else if (await includesPath(Object.values(definition.parents).flat(), wanted)) {
        users.push({ ...user, as: 'parent', conflict: 'whose disk builds on it' });
      } else if (await includesPath(mirrors, wanted)) {
        users.push({ ...user, as: 'drive', conflict: 'whose disk is mirrored to it' });
      }
    }
    return users;
  }

  override enableChangeTracking(path: string): Promise<ChangeTrackingInfo> {
    return this.#whereItIs(
      path,
      () => super.enableChangeTracking(path),
      (drive) => liveChangeTracking(drive, 'enable'),
    );
  }

  override disableChangeTracking(path: string): Promise<ChangeTrackingInfo> {
    return this.#whereItIs(
      path,
      () => super.disableChangeTracking(path),
      (drive) => liveChangeTracking(drive, 'disable'),
    );
  }

  override takeReferencePoint(path: string): Promise<string> {
    return this.#whereItIs(path, () => super.takeReferencePoint(path), liveReferencePoint);
  }

  override queryChanges(path: string, sinceId: string, options: FileQueryOptions = {}): Promise<DiskChanges> {
    return this.#whereItIs(
      path,
      () => super.queryChanges(path, sinceId, options),
      (drive) => liveQueryChanges(drive, sinceId, options),
    );
  }

  override backup(path: string, targetPath: string, options: BackupOptions = {}): Promise<BackupResult> {
    return this.#whereItIs(
      path,
      () => super.backup(path, targetPath, options),
      (drive) => liveBackup(drive, resolve(path), resolve(targetPath), options),
    );
  }

  /** On the file; where a running machine has it as a drive, through the machine's worker. */
  async #whereItIs<T>(path: string, offline: () => Promise<T>, live: (drive: LiveDrive) => Promise<T>): Promise<T> {
    try {
      return await offline();
    } catch (error) {
      if (!isHvError(error, 'in-use')) throw error;
      const found = await this.#runningDrive(path);
      if (!found) throw error;
      await using worker = await this.#context.worker(found.vmId);
      return await live({ worker, driveId: found.driveId, runFolder: this.#context.runFolder(found.vmId) });
    }
  }

  async #runningDrive(path: string): Promise<{ readonly vmId: string; readonly driveId: string } | undefined> {
    const wanted = await canonicalPath(path);
    for (const definition of await this.#context.store.list()) {
      for (const drive of definition.specification.hardDiskDrives) {
        if ((await canonicalPath(drive.path)) !== wanted) continue;
        if ((await observe(this.#context, definition)).runtime) return { vmId: definition.id, driveId: drive.id };
      }
    }
    return undefined;
  }
}

/** A running machine is not asked for: it holds the lock of the file. */
function conflictOf(definition: VmDefinition): string | null {
  if (definition.snapshots.length > 0) return 'which has snapshots';
  return definition.savedState ? 'which is Saved' : null;
}

async function includesPath(paths: readonly string[], wanted: string): Promise<boolean> {
  for (const path of paths) if (path === wanted || (await canonicalPath(path)) === wanted) return true;
  return false;
}

/** The path without symbolic links; as it is where nothing is there yet. */
export async function canonicalPath(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch {
    return resolve(path);
  }
}
