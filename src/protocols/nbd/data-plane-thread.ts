/**
 * Entry point of the disk data plane's thread: owns the disks and their server, so that synchronous file I/O stalls
 * nothing else. Everything that it ever needs is imported here: later the process has no privileges to load it with.
 */
import { resolve } from 'node:path';
import { parentPort } from 'node:worker_threads';
import { type LongOptions, Mutex, type Progress } from '../../async/index.ts';
import { randomGuid } from '../../binary/index.ts';
import {
  beginLiveBackup,
  type ChangeTrackingInfo,
  DiskChain,
  type LiveBackup,
  type OpenDisk,
  openVhd,
} from '../../disk/index.ts';
import { assertNever, fromSystemError, HvError } from '../../errors/index.ts';
import { preadNowait } from '../../system/index.ts';
import type {
  AddExportOptions,
  AddedExport,
  BegunBackup,
  DataPlaneCalls,
  DataPlaneReport,
  DataPlaneRequest,
  StartedMerge,
  StartMergeOptions,
} from './data-plane-messages.ts';
import { MergeJob } from './merge-job.ts';
import { MirrorJob } from './mirror-job.ts';
import { NbdServer } from './server.ts';

class DataPlaneThread {
  readonly #server = new NbdServer();
  readonly #disks = new Map<string, OpenDisk>();
  /** By the name under which each is offered. */
  readonly #backups = new Map<string, LiveBackup>();
  /** One change at a time for each export. */
  readonly #mutexes = new Map<string, Mutex>();

  /** The merge of an export: at most one, from its start to its end. */
  readonly #merges = new Map<string, MergeJob>();
  /** From a backup's export to the one that it is of. */
  readonly #backedUp = new Map<string, string>();
  readonly #mirrors = new Map<string, MirrorJob>();
  readonly #failedMirrors = new Map<string, HvError>();

  async answer(request: DataPlaneRequest, long: LongOptions): Promise<unknown> {
    switch (request.call) {
      case 'addExport':
        return this.#serially(request.arguments.name, () => this.#addExport(request.arguments));
      case 'removeExport':
        return this.#serially(request.arguments.name, () => this.#removeExport(request.arguments.name));
      case 'listen':
        return this.#server.listen(request.arguments.socketPath, request.arguments.options);
      case 'prepareChild': {
        const { name, childPath } = request.arguments;
        return this.#exclusively(name, (chain) => chain.prepareChild(childPath));
      }
      case 'commitChild':
        return this.#exclusively(request.arguments.name, (chain) => chain.commitChild());
      case 'abandonChild':
        return this.#exclusively(request.arguments.name, (chain) => chain.abandonChild());
      case 'startMerge':
        return this.#startMerge(request.arguments, long);
      case 'closeMerge':
        return this.#endMerge(request.arguments.name, (job) => job.close());
      case 'commitMerge':
        return this.#endMerge(request.arguments.name, (job) => job.commit());
      case 'reopenMerge':
        return this.#merges.get(request.arguments.name)?.reopen();
      case 'abandonMerge':
        return this.#abandonMerge(request.arguments.name);
      case 'waitMirror':
        return this.#mirrorOf(request.arguments.name).wait(long);
      case 'closeMirror':
        return this.#changeMirror(request.arguments.name, (mirror) => mirror.close());
      case 'reopenMirror':
        return this.#changeMirror(request.arguments.name, (mirror) => mirror.reopen());
      case 'switchToMirror':
        return this.#changeMirror(request.arguments.name, async (mirror) => {
          this.#mustNotBeBackedUp(request.arguments.name);
          this.#disks.set(request.arguments.name, mirror.target);
          await mirror.switchOver();
        });
      case 'endMirror':
        this.#failedMirrors.delete(request.arguments.name);
        if (!this.#mirrors.has(request.arguments.name)) return null;
        return this.#changeMirror(request.arguments.name, (mirror) => mirror.end());
      case 'flush':
        return this.#flush(request.arguments.name);
      case 'changeTracking':
        return this.#changeTracking(request.arguments.name, request.arguments.change);
      case 'takeReferencePoint':
        return this.#onChain(request.arguments.name, async (chain) => {
          await chain.flush(); // most of it, while requests are served
          return chain.takeReferencePoint();
        });
      case 'queryChanges': {
        const { name, sinceId, options } = request.arguments;
        return this.#onChain(name, async (chain) => {
          if (options.takeReferencePoint === true) await chain.flush();
          return chain.queryChanges(sinceId, options);
        });
      }
      case 'beginBackup':
        return this.#beginBackup(request.arguments);
      case 'backupPieces': {
        const { exportName, first, count } = request.arguments;
        return this.#backup(exportName).pieces.slice(first, first + count);
      }
      case 'endBackup':
        return this.#endBackup(request.arguments.exportName);
      case 'stats':
        return this.#server.stats();
      case 'cancel':
        return null; // done where the calls are known
      case 'close':
        return this.#close();
      default:
        return assertNever(request, 'call');
    }
  }

  async #addExport(options: AddExportOptions): Promise<AddedExport> {
    const { name, path, mirrorPath, ...how } = options;
    if (this.#disks.has(name)) {
      throw new HvError('already-exists', `an export named ${JSON.stringify(name)} exists already`);
    }
    const disk = await openVhd(path, how);
    try {
      const { sizeBytes } = this.#server.addExport(name, disk);
      this.#disks.set(name, disk);
      if (mirrorPath !== undefined) await this.#startMirror(name, disk, mirrorPath);
      return { sizeBytes, layers: disk instanceof DiskChain ? disk.layers.map((layer) => layer.path) : [disk.path] };
    } catch (error) {
      await disk.close();
      throw error;
    }
  }

  /** Changes of a disk's tracking file and of its layers never come between each other. */
  #onChain<T>(name: string, work: (chain: DiskChain) => Promise<T> | T): Promise<T> {
    return this.#serially(name, () => {
      this.#server.export(name); // one that is not there is said so
      const disk = this.#disks.get(name);
      if (!(disk instanceof DiskChain)) {
        throw new HvError('unsupported', `the changes of the export ${JSON.stringify(name)} cannot be tracked`);
      }
      return work(disk);
    });
  }

  #changeTracking(name: string, change: 'enable' | 'disable' | null): Promise<ChangeTrackingInfo> {
    return this.#onChain(name, (chain) => {
      if (change === 'enable') return chain.enableChangeTracking();
      if (change === 'disable') return chain.disableChangeTracking();
      return chain.changeTracking();
    });
  }

  #beginBackup(options: DataPlaneCalls['beginBackup']['arguments']): Promise<BegunBackup> {
    return this.#onChain(options.name, async (chain) => {
      if (this.#merges.has(options.name)) throw mergingError(options.name);
      await chain.flush();
      const backup = beginLiveBackup(chain, options.sinceId, options.scratchFolder);
      const exportName = `backup-${randomGuid()}`;
      try {
        this.#server.addExport(exportName, backup.view);
      } catch (error) {
        await backup.end();
        throw error;
      }
      this.#backups.set(exportName, backup);
      this.#backedUp.set(exportName, options.name);
      const { view, changeTrackingId, pieces } = backup;
      const { sizeBytes, logicalSectorSizeBytes, physicalSectorSizeBytes } = view;
      const sizes = { sizeBytes, logicalSectorSizeBytes, physicalSectorSizeBytes };
      return { exportName, changeTrackingId, ...sizes, pieceCount: pieces.length };
    });
  }

  /** A backup reads the files that were there at its beginning. */
  #mustNotBeBackedUp(name: string): void {
    if (![...this.#backedUp.values()].includes(name)) return;
    throw new HvError('in-use', `the disk ${JSON.stringify(name)} is being backed up`);
  }

  #backup(exportName: string): LiveBackup {
    const backup = this.#backups.get(exportName);
    if (!backup) throw new HvError('not-found', `no backup is named ${JSON.stringify(exportName)}`);
    return backup;
  }

  /** Does nothing when it has ended. */
  async #endBackup(exportName: string): Promise<void> {
    const backup = this.#backups.get(exportName);
    if (!backup) return;
    this.#backups.delete(exportName);
    this.#backedUp.delete(exportName);
    await this.#server.removeExport(exportName);
    await backup.end();
  }

  /** A mirror that does not come about is the mirror's affair: the disk is served all the same. */
  async #startMirror(name: string, disk: OpenDisk, mirrorPath: string): Promise<void> {
    try {
      const target = await openVhd(mirrorPath);
      try {
        this.#mirrors.set(name, new MirrorJob(this.#server.export(name), disk, target));
      } catch (error) {
        await target.close();
        throw error;
      }
    } catch (error) {
      this.#failedMirrors.set(name, fromSystemError(error, `could not mirror to ${mirrorPath}`));
    }
  }

  #mirrorOf(name: string): MirrorJob {
    const mirror = this.#mirrors.get(name);
    if (mirror) return mirror;
    throw (
      this.#failedMirrors.get(name) ?? new HvError('invalid-state', `the disk ${JSON.stringify(name)} has no mirror`)
    );
  }

  async #changeMirror(name: string, change: (mirror: MirrorJob) => Promise<void>): Promise<void> {
    await this.#serially(name, async () => {
      const mirror = this.#mirrorOf(name);
      try {
        await change(mirror);
      } finally {
        if (mirror.isOver) this.#mirrors.delete(name);
      }
    });
  }

  async #removeExport(name: string): Promise<void> {
    await this.#mirrors.get(name)?.end();
    this.#mirrors.delete(name);
    await this.#merges.get(name)?.abandon();
    this.#merges.delete(name);
    await this.#server.removeExport(name);
    const disk = this.#disks.get(name);
    this.#disks.delete(name);
    await disk?.close();
  }

  async #exclusively(name: string, work: (chain: DiskChain) => Promise<void> | void): Promise<void> {
    await this.#serially(name, () => {
      const served = this.#server.export(name);
      const chain = this.#chainOf(name);
      if (this.#merges.has(name)) throw mergingError(name);
      return served.exclusively(() => work(chain));
    });
  }

  #chainOf(name: string): DiskChain {
    const disk = this.#disks.get(name);
    if (disk instanceof DiskChain) return disk;
    throw new HvError('unsupported', `the export ${JSON.stringify(name)} is a raw disk, which has no layers`);
  }

  async #startMerge({ name, path, parentPath }: StartMergeOptions, long: LongOptions): Promise<StartedMerge> {
    const job = await this.#serially(name, () => {
      const served = this.#server.export(name);
      const chain = this.#chainOf(name);
      if (this.#merges.has(name)) throw mergingError(name);
      this.#mustNotBeBackedUp(name);
      if (this.#mirrors.has(name)) throw new HvError('in-use', `the disk ${JSON.stringify(name)} is being mirrored`);
      const paths = chain.layers.map((layer) => resolve(layer.path));
      const depth = paths.indexOf(path);
      if (depth < 0 || paths[depth + 1] !== parentPath) {
        throw new HvError('not-found', `${path} is not in use above ${parentPath}`, { detail: { path, parentPath } });
      }
      const started = new MergeJob(served, chain, depth);
      this.#merges.set(name, started);
      return started;
    });
    try {
      await job.copy(long);
    } catch (error) {
      if (this.#merges.get(name) === job) this.#merges.delete(name);
      throw error;
    }
    return { isLeaf: job.isLeaf };
  }

  /** A step towards a merge's end. Whether it succeeds or fails, the merge may be over then. */
  async #endMerge(name: string, step: (job: MergeJob) => Promise<void>): Promise<void> {
    await this.#serially(name, async () => {
      this.#server.export(name);
      const job = this.#merges.get(name);
      if (!job?.isCopied) throw new HvError('invalid-state', `no merge of ${JSON.stringify(name)} waits for its end`);
      try {
        await step(job);
      } finally {
        if (job.isOver) this.#merges.delete(name);
      }
    });
  }

  async #abandonMerge(name: string): Promise<void> {
    const job = this.#merges.get(name);
    if (!job) return;
    this.#merges.delete(name);
    await job.abandon();
  }

  async #flush(name: string | undefined): Promise<void> {
    const flushed = name === undefined ? [...this.#server.list()] : [this.#server.export(name)];
    await Promise.all(flushed.map((served) => served.flush()));
  }

  /** Closes everything that can be closed, then reports what could not. */
  async #close(): Promise<void> {
    const abandonings = await Promise.allSettled([...this.#merges.values()].map((job) => job.abandon()));
    // What becomes of a mirror is no failure of the disks.
    await Promise.allSettled([...this.#mirrors.values()].map((mirror) => mirror.end()));
    this.#mirrors.clear();
    this.#merges.clear();
    await this.#server.close();
    for (const backup of this.#backups.values()) await backup.end();
    this.#backups.clear();
    const closings = await Promise.allSettled([...this.#disks.values()].map((disk) => disk.close()));
    this.#disks.clear();
    for (const closing of [...abandonings, ...closings]) if (closing.status === 'rejected') throw closing.reason;
  }

  #serially<T>(name: string, work: () => Promise<T> | T): Promise<T> {
    let mutex = this.#mutexes.get(name);
    if (!mutex) {
      mutex = new Mutex();
      this.#mutexes.set(name, mutex);
    }
    return mutex.run(work);
  }
}

function mergingError(name: string): HvError {
  return new HvError('in-use', `the disk ${JSON.stringify(name)} is being merged`);
}

function start(): void {
  const port = parentPort;
  if (!port) throw new HvError('internal', 'the disk data plane runs as a thread of its own only');
  const report = (message: DataPlaneReport): void => port.postMessage(message);
  const thread = new DataPlaneThread();
  const running = new Map<number, AbortController>();
  port.on('message', (request: DataPlaneRequest) => {
    const { id } = request;
    const control = new AbortController();
    if (request.call === 'cancel') running.get(request.arguments.id)?.abort();
    running.set(id, control);
    const onProgress = (progress: Progress): void => report({ kind: 'progress', id, progress });
    const answered = thread.answer(request, { signal: control.signal, onProgress }).finally(() => running.delete(id));
    answered.then(
      (result) => {
        report({ kind: 'result', id: request.id, result: result ?? null });
        if (request.call === 'close') port.close();
      },
      (error: unknown) => {
        const failure = fromSystemError(error, 'the disk data plane failed');
        report({ kind: 'error', id: request.id, error: failure.toJSON() });
        if (request.call === 'close') port.close();
      },
    );
  });
  // Loads the C library's binding now; the answer does not matter.
  preadNowait(-1, new Uint8Array(1), 0, 1, 0);
  report({ kind: 'ready' });
}

start();
