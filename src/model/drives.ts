export type ControllerType = 'IDE' | 'SCSI';

/** Where a drive is connected. */
export interface DriveAddress {
  readonly controllerType: ControllerType;
  /** IDE: 0 to 1. SCSI: 0 to 3. */
  readonly controllerNumber: number;
  /** IDE: 0 to 1. SCSI: 0 to 63. */
  readonly controllerLocation: number;
}

/** What a drive may ask of its disk (Msvm_StorageAllocationSettingData). Null: no bound. An operation counts per 8 KiB. */
export interface StorageQos {
  readonly maximumIops: number | null;
  /** Not enforced: missing it is reported. */
  readonly minimumIops: number | null;
  readonly maximumBytesPerSecond: number | null;
}

/** A hard disk drive with its medium (Msvm_ResourceAllocationSettingData and Msvm_StorageAllocationSettingData). */
export interface HardDiskDrive extends DriveAddress {
  /** Stable for the life of the drive; names the device inside the engine. */
  readonly id: string;
  /** The file that the guest writes to now: after a snapshot, a differencing disk. A pass-through drive's block device. */
  readonly path: string;
  /** The medium is a block device of the host, passed through; snapshots leave it out. */
  readonly isPhysical: boolean;
  readonly qos: StorageQos;
}

/** A DVD drive; its medium can change while the guest runs. */
export interface DvdDrive extends DriveAddress {
  readonly id: string;
  /** The ISO image in the drive; null: empty. */
  readonly path: string | null;
}

export const NO_QOS: StorageQos = { maximumIops: null, minimumIops: null, maximumBytesPerSecond: null };
export const MAX_SCSI_CONTROLLERS = 4;
