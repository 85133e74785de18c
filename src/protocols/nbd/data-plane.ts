import { Worker } from 'node:worker_threads';
import { abortedError, type Deferred, deferred, type LongOptions } from '../../async/index.ts';
import type { BackupPiece, ChangeTrackingInfo, DiskChanges, QueryChangesOptions } from '../../disk/index.ts';
import { fromSystemError, HvError } from '../../errors/index.ts';
import { entryPoint } from '../../system/index.ts';
import type {
  AddExportOptions,
  AddedExport,
  BegunBackup,
  DataPlaneCallName,
  DataPlaneCalls,
  DataPlaneReport,
  StartedMerge,
  StartMergeOptions,
} from './data-plane-messages.ts';
import type { ExportStats } from './export.ts';
import type { ListenOptions } from './server.ts';

interface Pending extends Deferred<unknown> {
  readonly onProgress: LongOptions['onProgress'];
}

export interface DataPlaneOptions {
  /** The thread ended without being told to. Everything pending was rejected; nothing is served any more. */
  readonly onFailure?: (error: HvError) => void;
}

/**
 * Serves disks over NBD from a thread of its own.
 *
 * After `start` resolves, the process may give up its privileges: the thread loads nothing later. Every method
 * rejects with what the thread met, or with `process-failed` once it has ended.
 */
export class DataPlane implements AsyncDisposable {
  readonly #worker: Worker;
  readonly #ready = deferred<void>();
  readonly #exited = deferred<void>();
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #failure: HvError | undefined;
  #closing: Promise<void> | undefined;

  private constructor(options: DataPlaneOptions) {
    this.#worker = new Worker(entryPoint(import.meta.url, './data-plane-thread.js'), {
      name: 'hv-disks',
      // The thread needs none of the flags that the main program was started with.
      execArgv: [],
    });
    this.#worker.on('message', (report: DataPlaneReport) => this.#receive(report));
    this.#worker.on('error', (error) => this.#fail(error));
    this.#worker.on('exit', () => {
      this.#exited.resolve();
      if (this.#closing) this.#rejectAll(endedError());
      else this.#fail(undefined);
      if (this.#failure && !this.#closing) options.onFailure?.(this.#failure);
    });
  }

  /** @throws HvError `process-failed`, `internal` (not built) */
  static async start(options: DataPlaneOptions = {}): Promise<DataPlane> {
    const plane = new DataPlane(options);
    await plane.#ready.promise;
    return plane;
  }

  /**
   * Opens a disk and offers it under a name to whoever connects.
   * @throws HvError `already-exists`, and whatever opening it says: `not-found`, `in-use`, `corrupt`, `parent-changed`, …
   */
  addExport(options: AddExportOptions): Promise<AddedExport> {
    return this.#call('addExport', options);
  }

  /** Ends the export's connections after their requests in progress, flushes and closes the disk. @throws HvError `not-found`, `io` */
  async removeExport(name: string): Promise<void> {
    await this.#call('removeExport', { name });
  }

  /** Accepts connections; a socket that nobody listens on is replaced. @throws HvError `in-use`, `invalid-argument`, `permission-denied` */
  async listen(socketPath: string, options: ListenOptions = {}): Promise<void> {
    await this.#call('listen', { socketPath, options });
  }

  /**
   * First step of a live snapshot: makes the differencing child, which is not used yet. The guest must be stopped,
   * which flushes its disks; requests that come meanwhile wait.
   * @throws HvError `not-found`, `already-exists`, `no-space`, `io`
   */
  async prepareChild(exportName: string, childPath: string): Promise<void> {
    await this.#call('prepareChild', { name: exportName, childPath });
  }

  /** Second step: the prepared child becomes the leaf; from now on the former leaf is only read. @throws HvError `invalid-state` */
  async commitChild(exportName: string): Promise<void> {
    await this.#call('commitChild', { name: exportName });
  }

  /** Instead of the second step: the prepared child is deleted. @throws HvError `invalid-state` */
  async abandonChild(exportName: string): Promise<void> {
    await this.#call('abandonChild', { name: exportName });
  }

  /**
   * Merges a file of the export's chain into its parent, in slices between the requests. Resolves when everything is
   * copied and the merge waits for its end: commitMerge for a file below the leaf, closeMerge and commitMerge for the leaf
   * itself. An abort, a failure and abandonMerge leave a sound chain, to be merged another time.
   * @throws HvError `not-found` (no such file in the chain), `in-use`, `permission-denied`, `unsupported`, `no-space`, `io`, `aborted`
   */
  startMerge(options: StartMergeOptions, long: LongOptions = {}): Promise<StartedMerge> {
    return this.#call('startMerge', options, long);
  }

  /** Holds all requests back, with both files holding the same, durable, until commitMerge or abandonMerge. @throws HvError `invalid-state`, `io`, `no-space` */
  async closeMerge(exportName: string): Promise<void> {
    await this.#call('closeMerge', { name: exportName });
  }

  /** The chain goes on without the merged file, which is closed and stays where it is. @throws HvError `invalid-state`, `io`, `no-space` */
  async commitMerge(exportName: string): Promise<void> {
    await this.#call('commitMerge', { name: exportName });
  }

  /** Ends closeMerge without a decision: requests go on, and every change goes to both files. @throws HvError `io` */
  async reopenMerge(exportName: string): Promise<void> {
    await this.#call('reopenMerge', { name: exportName });
  }

  /** Nothing happens when there is no merge. @throws HvError `io`, `no-space` */
  async abandonMerge(exportName: string): Promise<void> {
    await this.#call('abandonMerge', { name: exportName });
  }

  /** Resolves when the export's mirror holds the same as its disk, from then on. @throws HvError `invalid-state` (it has none), `aborted`, what made the mirror fail */
  async waitMirror(exportName: string, long: LongOptions = {}): Promise<void> {
    await this.#call('waitMirror', { name: exportName }, long);
  }

  /** Holds all requests back, with both disks the same, durable, until switchToMirror or reopenMirror. @throws HvError `invalid-state`, `io`, `no-space` */
  async closeMirror(exportName: string): Promise<void> {
    await this.#call('closeMirror', { name: exportName });
  }

  /** Ends closeMirror without a decision: requests go on, on both disks. */
  async reopenMirror(exportName: string): Promise<void> {
    await this.#call('reopenMirror', { name: exportName });
  }

  /** The export goes on with its mirror; the former disk is closed. @throws HvError `invalid-state`, `io`, `no-space` */
  async switchToMirror(exportName: string): Promise<void> {
    await this.#call('switchToMirror', { name: exportName });
  }

  /** The export goes on without its mirror, which is closed as it is at this moment; nothing happens when it has none. @throws HvError `io`, `no-space` (the mirror) */
  async endMirror(exportName: string): Promise<void> {
    await this.#call('endMirror', { name: exportName });
  }

  /** Every write acknowledged before the call survives a power cut; of all exports without a name. @throws HvError `io` */
  async flush(exportName?: string): Promise<void> {
    await this.#call('flush', { name: exportName });
  }

  /** The state of an export's change tracking, after it was changed. @throws HvError `not-found`, `unsupported`, `permission-denied`, `no-space`, `io` */
  changeTracking(exportName: string, change: 'enable' | 'disable' | null = null): Promise<ChangeTrackingInfo> {
    return this.#call('changeTracking', { name: exportName, change });
  }

  /** An id that names this moment of an export. @throws HvError `invalid-state`, `io`, `no-space` */
  takeReferencePoint(exportName: string): Promise<string> {
    return this.#call('takeReferencePoint', { name: exportName });
  }

  /** @throws HvError `invalid-state`, `not-found`, `invalid-argument` */
  queryChanges(exportName: string, sinceId: string, options: QueryChangesOptions = {}): Promise<DiskChanges> {
    return this.#call('queryChanges', { name: exportName, sinceId, options });
  }

  /**
   * Holds the present moment of an export for a backup, and offers it read-only under another name. What is overwritten
   * until endBackup() is put aside in a file without a name in that folder.
   * @throws HvError `invalid-state`, `not-found`, `in-use` (a backup is under way), `no-space`, `io`
   */
  beginBackup(exportName: string, sinceId: string | undefined, scratchFolder: string): Promise<BegunBackup> {
    return this.#call('beginBackup', { name: exportName, sinceId, scratchFolder });
  }

  /** What is to be copied, from the piece of that number on. @throws HvError `not-found` */
  backupPieces(exportName: string, first: number, count: number): Promise<readonly BackupPiece[]> {
    return this.#call('backupPieces', { exportName, first, count });
  }

  /** Does nothing when it has ended. */
  async endBackup(exportName: string): Promise<void> {
    await this.#call('endBackup', { exportName });
  }

  /** By export name. */
  stats(): Promise<Record<string, ExportStats>> {
    return this.#call('stats', null);
  }

  /** Ends all connections, flushes and closes all disks, ends the thread. Idempotent. @throws HvError `io` */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    if (this.#failure) return;
    try {
      await this.#call('close', null);
    } finally {
      await this.#exited.promise;
    }
  }

  #call<Name extends DataPlaneCallName>(
    call: Name,
    callArguments: DataPlaneCalls[Name]['arguments'],
    { signal, onProgress }: LongOptions = {},
  ): Promise<DataPlaneCalls[Name]['result']> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (this.#closing && call !== 'close') return Promise.reject(endedError());
    if (signal?.aborted) return Promise.reject(abortedError(signal, call));
    const id = this.#nextId++;
    const pending: Pending = { ...deferred<unknown>(), onProgress };
    this.#pending.set(id, pending);
    this.#worker.postMessage({ id, call, arguments: callArguments });
    const onAbort = (): void => this.#worker.postMessage({ id: this.#nextId++, call: 'cancel', arguments: { id } });
    signal?.addEventListener('abort', onAbort, { once: true });
    // The thread runs the code of this very build, so the result has the type that the call's name says.
    return pending.promise.finally(() => signal?.removeEventListener('abort', onAbort)) as Promise<
      DataPlaneCalls[Name]['result']
    >;
  }

  #receive(report: DataPlaneReport): void {
    if (report.kind === 'ready') {
      this.#ready.resolve();
      return;
    }
    const pending = this.#pending.get(report.id);
    if (report.kind === 'progress') {
      pending?.onProgress?.(report.progress);
      return;
    }
    this.#pending.delete(report.id);
    if (report.kind === 'result') pending?.resolve(report.result);
    else pending?.reject(HvError.fromJSON(report.error));
  }

  #fail(cause: unknown): void {
    this.#failure ??= endedError(cause);
    this.#rejectAll(this.#failure);
  }

  #rejectAll(failure: HvError): void {
    this.#ready.reject(failure);
    for (const pending of this.#pending.values()) pending.reject(failure);
    this.#pending.clear();
  }
}

function endedError(cause?: unknown): HvError {
  if (cause === undefined) return new HvError('process-failed', 'the thread that serves the disks has ended');
  const { code, detail } = fromSystemError(cause, 'the thread that serves the disks failed');
  return new HvError(code === 'internal' ? 'process-failed' : code, 'the thread that serves the disks failed', {
    detail,
    cause,
  });
}
