import type { LongOptions } from '../async/index.ts';
import type { SnapshotInfo, SnapshotType } from '../model/index.ts';

/** Snapshots, which Hyper-V also calls checkpoints (Msvm_VirtualSystemSnapshotService). */
export interface SnapshotService {
  /** Oldest first; parentId makes the tree. Windows: Msvm_VirtualSystemSettingData of type Microsoft:Hyper-V:Snapshot:Realized. */
  list(vmId: string): Promise<SnapshotInfo[]>;

  /** By name (case does not matter) or id. @throws `not-found`, `ambiguous-name` */
  resolve(vmId: string, nameOrId: string): Promise<SnapshotInfo>;

  /**
   * Keeps disks, settings and, unless the machine is off, memory. Windows: CreateSnapshot with UserSnapshotType.
   * An abort leaves the machine running and no snapshot behind.
   * @throws `invalid-state`, `already-exists`, `unsupported` (a type that the engine lacks), `no-space`
   */
  create(vmId: string, name: string, options?: LongOptions & { readonly type?: SnapshotType }): Promise<SnapshotInfo>;

  /**
   * Brings the machine back to the snapshot: Off, or Saved where it holds memory (start resumes it). A running machine is
   * switched off first. What came after the present state's snapshot is lost. Windows: ApplySnapshot.
   */
  apply(vmId: string, snapshotId: string, long?: LongOptions): Promise<void>;

  /**
   * Forgets the snapshot; its data stay in what descends from it. Windows: DestroySnapshot.
   * Under a running or paused machine its disks are merged while the guest works on.
   * @throws `invalid-state` while the machine is saved, or on its way to another state
   */
  delete(vmId: string, snapshotId: string, long?: LongOptions): Promise<void>;
}
