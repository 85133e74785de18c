import { sleep } from '../../async/index.ts';
import { isHvError } from '../../errors/index.ts';
import {
  type HvPaths,
  OperationJournal,
  readSettings,
  type StoredSettings,
  type VmDefinition,
  VmStore,
  vmPaths,
} from '../../state/index.ts';
import type { ControlClient } from './control/client.ts';
import { askKeeper, callKeeper, findKeeper } from './keeper/client.ts';
import { connectWorker } from './worker/client.ts';

const WORKER_TIMEOUT_MS = 15_000;

/** What the services of one opened host share. */
export class EngineContext {
  readonly paths: HvPaths;
  readonly store: VmStore;
  readonly operations: OperationJournal;

  constructor(paths: HvPaths) {
    this.paths = paths;
    this.store = new VmStore(paths);
    this.operations = new OperationJournal(paths);
  }

  settings(): Promise<StoredSettings> {
    return readSettings(this.paths);
  }

  runFolder(vmId: string): string {
    return vmPaths(this.paths, vmId).run;
  }

  /** The worker of a machine whose QEMU lives; brought back first where it died. */
  async worker(vmId: string): Promise<ControlClient> {
    try {
      return await connectWorker(this.runFolder(vmId));
    } catch {
      return this.startWorker(vmId);
    }
  }

  /**
   * Has the keeper start the machine's worker. One that is just leaving is not taken for it: its socket is gone, and the
   * keeper is asked again. @throws HvError why it does not start
   */
  async startWorker(vmId: string): Promise<ControlClient> {
    const deadline = performance.now() + WORKER_TIMEOUT_MS;
    for (;;) {
      await askKeeper(this.paths, { op: 'ensure-worker', vmId });
      try {
        return await connectWorker(this.runFolder(vmId));
      } catch (error) {
        const isLeaving = isHvError(error, 'not-found') || isHvError(error, 'io') || isHvError(error, 'process-failed');
        if (!isLeaving || performance.now() > deadline) throw error;
      }
      await sleep(5);
    }
  }

  /**
   * Runs the two steps of an order with the decision held: what the worker prepares, the definition that is written then,
   * and the word to the worker. Once the definition is written the order has succeeded: a worker that dies before it hears
   * of it has a successor that reads it there.
   */
  async decide<T>(
    worker: ControlClient,
    vmId: string,
    steps: { prepare(): Promise<T>; write(prepared: T): Promise<void> },
  ): Promise<T> {
    await using _decision = await this.store.lockDecision(vmId);
    const prepared = await steps.prepare();
    await steps.write(prepared);
    try {
      await worker.call({ op: 'commit' });
    } catch (error) {
      if (!isHvError(error, 'process-failed')) throw error;
    }
    return prepared;
  }

  /** Frees the disks of a machine that is off: a command that was killed in a start may have left a worker on them. */
  async releaseDisks(vmId: string): Promise<void> {
    await using keeper = await findKeeper(this.paths);
    if (keeper) await callKeeper(keeper, { op: 'release-worker', vmId });
  }

  /** Runs work with the machine's lock held, on a definition read under it. */
  async withLock<T>(
    vmId: string,
    signal: AbortSignal | undefined,
    work: (definition: VmDefinition) => Promise<T>,
  ): Promise<T> {
    await this.store.load(vmId); // an unknown id is said before a lock file is made for it
    await using _lock = await this.store.lock(vmId, { signal });
    return await work(await this.store.load(vmId)); // awaited here, so that the lock is held until its end
  }
}
