import type { LongOptions } from '../async/index.ts';
import type { Host } from '../host/index.ts';
import type { SnapshotInfo } from '../model/index.ts';

/** One snapshot of a machine, as it was when this object was made. */
export class Snapshot {
  readonly info: SnapshotInfo;
  readonly #host: Host;

  constructor(host: Host, info: SnapshotInfo) {
    this.#host = host;
    this.info = info;
  }

  get id(): string {
    return this.info.id;
  }

  get name(): string {
    return this.info.name;
  }

  get vmName(): string {
    return this.info.vmName;
  }

  get creationTime(): Date {
    return new Date(this.info.creationTime);
  }

  get parentName(): string | null {
    return this.info.parentName;
  }

  /** Brings the machine back to this snapshot; what came after its present snapshot is lost. */
  apply(long?: LongOptions): Promise<void> {
    return this.#host.snapshots.apply(this.info.vmId, this.id, long);
  }

  /** Forgets the snapshot; the machine must be off. @throws HvError `invalid-state` */
  delete(long?: LongOptions): Promise<void> {
    return this.#host.snapshots.delete(this.info.vmId, this.id, long);
  }
}
