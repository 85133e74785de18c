import {
  type HvPaths,
  readSettings,
  type StoredSettings,
  type VmDefinition,
  VmStore,
  vmPaths,
} from '../../state/index.ts';
import type { ControlClient } from './control/client.ts';
import { connectKeeper } from './keeper/client.ts';
import { connectWorker } from './worker/client.ts';

/** What the services of one opened host share. */
export class EngineContext {
  readonly paths: HvPaths;
  readonly store: VmStore;

  constructor(paths: HvPaths) {
    this.paths = paths;
    this.store = new VmStore(paths);
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

  /** Has the keeper start the machine's worker. @throws HvError why it does not start */
  async startWorker(vmId: string): Promise<ControlClient> {
    await using keeper = await connectKeeper(this.paths);
    await keeper.call({ op: 'ensure-worker', vmId });
    return connectWorker(this.runFolder(vmId));
  }

  /** Runs work with the machine's lock held, on a definition read under it. */
  async withLock<T>(
    vmId: string,
    signal: AbortSignal | undefined,
    work: (definition: VmDefinition) => Promise<T>,
  ): Promise<T> {
    await this.store.load(vmId); // an unknown id is said before a lock file is made for it
    await using _lock = await this.store.lock(vmId, { signal });
    return work(await this.store.load(vmId));
  }
}
