import type {
  ApplySetSnapshotOptions,
  ChangeOptions,
  DeleteSetSnapshotOptions,
  TakeSetSnapshotOptions,
  VhdSetChange,
  VhdSetInfo,
  VhdSetOptions,
} from '../disk/index.ts';
import type { Host } from '../host/index.ts';

/** A VHD Set of this host: a disk with snapshots of its own, kept in a `.vhds` file. */
export class VhdSet {
  readonly path: string;
  readonly #host: Host;

  constructor(host: Host, path: string) {
    this.#host = host;
    this.path = path;
  }

  /** @throws HvError `not-found`, `corrupt`, `unsupported` */
  info(options: VhdSetOptions = {}): Promise<VhdSetInfo> {
    return this.#host.disks.setInfo(this.path, options);
  }

  /** Keeps the disk as it is now. @throws HvError `already-exists`, `in-use`, `no-space`, `unsupported` */
  takeSnapshot(options: TakeSetSnapshotOptions & ChangeOptions = {}): Promise<VhdSetInfo> {
    return this.#host.disks.takeSetSnapshot(this.path, options);
  }

  /** Makes the disk what a snapshot is. @throws HvError `not-found`, `invalid-state`, `in-use`, `no-space` */
  applySnapshot(snapshotId: string, options: ApplySetSnapshotOptions & ChangeOptions = {}): Promise<VhdSetInfo> {
    return this.#host.disks.applySetSnapshot(this.path, snapshotId, options);
  }

  /** @throws HvError `not-found`, `in-use` */
  deleteSnapshot(snapshotId: string, options: DeleteSetSnapshotOptions & ChangeOptions = {}): Promise<VhdSetInfo> {
    return this.#host.disks.deleteSetSnapshot(this.path, snapshotId, options);
  }

  /** @throws HvError `not-found`, `invalid-argument`, `parent-changed`, `in-use` */
  modify(change: VhdSetChange, options: VhdSetOptions & ChangeOptions = {}): Promise<VhdSetInfo> {
    return this.#host.disks.modifySet(this.path, change, options);
  }

  /** Merges away the files that no snapshot needs. @throws HvError `in-use`, `no-space` */
  optimize(options: VhdSetOptions & ChangeOptions = {}): Promise<VhdSetInfo> {
    return this.#host.disks.optimizeSet(this.path, options);
  }
}
