/** How a snapshot is taken (Msvm_VirtualSystemSettingData.UserSnapshotType). */
export type SnapshotType = 'Standard' | 'Production' | 'ProductionOnly';

/** A snapshot as callers see it. */
export interface SnapshotInfo {
  readonly id: string;
  readonly name: string;
  readonly vmId: string;
  readonly vmName: string;
  readonly type: SnapshotType;
  /** ISO 8601, UTC. */
  readonly creationTime: string;
  /** The snapshot that this one was taken on top of; null at the root. */
  readonly parentId: string | null;
  readonly parentName: string | null;
  /** The state that the machine had: with memory (`Running`, `Paused`, `Saved`) or without (`Off`). */
  readonly vmState: 'Off' | 'Running' | 'Paused' | 'Saved';
  /** The machine's present state descends directly from this snapshot. */
  readonly isCurrent: boolean;
}
