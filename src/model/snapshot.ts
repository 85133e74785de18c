/** How a snapshot is taken (Msvm_VirtualSystemSettingData.UserSnapshotType). */
export type SnapshotType = 'Standard' | 'Production' | 'ProductionOnly';

/**
 * What a machine's owner allows (Msvm_VirtualSystemSettingData.UserSnapshotType). `Production`: through the guest, Standard
 * where that fails; `ProductionOnly`: through the guest or not at all.
 */
export const CHECKPOINT_TYPES = ['Standard', 'Production', 'ProductionOnly', 'Disabled'] as const;
export type CheckpointType = (typeof CHECKPOINT_TYPES)[number];

export interface CheckpointSettings {
  readonly type: CheckpointType;
  /** One is taken at each start from Off, and deleted at the next stop. */
  readonly automatic: boolean;
}

export const DEFAULT_CHECKPOINTS: CheckpointSettings = { type: 'Standard', automatic: false };

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
