import type { LongOptions } from '../async/index.ts';
import type { DriveAddress, DvdDrive, HardDiskDrive, StorageQos } from '../model/index.ts';

/** A hard disk drive, and what is known of its disk. */
export interface HardDiskDriveInfo extends HardDiskDrive {
  readonly vmId: string;
  readonly vmName: string;
  /** The file that was attached; `path` lies on it once there are snapshots. */
  readonly attachedPath: string;
  /** The size that the guest sees; null where the file cannot be read. */
  readonly sizeBytes: number | null;
}

export interface DvdDriveInfo extends DvdDrive {
  readonly vmId: string;
  readonly vmName: string;
  /** Something odd about the image in it that keeps nothing from working. */
  readonly warning: string | null;
}

/** Checks everything and answers what would be, without changing anything. */
export interface DryRun {
  readonly dryRun?: boolean;
}

export interface AddHardDiskDriveOptions extends DryRun, Partial<DriveAddress> {
  /** An existing virtual hard disk; with `newSizeBytes` a file that is made, by default in the default disk folder. */
  readonly path?: string;
  /** `path` is a block device of the host, passed through: nobody else may use it, and there are no snapshots then. */
  readonly isPhysical?: boolean;
  /** Makes a dynamic VHDX of this many bytes. */
  readonly newSizeBytes?: number;
  readonly qos?: Partial<StorageQos>;
  /** Files or folders outside the disk's own folder where its parents may lie. */
  readonly allowedParents?: readonly string[];
}

export interface SetHardDiskDriveOptions extends DryRun {
  /** Another virtual hard disk; the machine must be off. */
  readonly path?: string;
  /** What is given changes, at once also under a running guest; null removes a bound. */
  readonly qos?: Partial<StorageQos>;
  readonly allowedParents?: readonly string[];
}

export interface RemoveHardDiskDriveOptions extends DryRun {
  /** Removes it even where snapshots lie under it and what was written since the last one goes with it. */
  readonly discardChanges?: boolean;
}

export interface AddDvdDriveOptions extends DryRun, Partial<DriveAddress> {
  /** The ISO image in it; absent: empty. */
  readonly path?: string;
}

/**
 * Drives of virtual machines. Drives on SCSI come and go under a running guest, those on IDE while the machine is off; a
 * saved machine keeps what it has. Windows: Msvm_VirtualSystemManagementService, with Msvm_ResourceAllocationSettingData
 * (a drive, a controller; with HostResource naming an
 * Msvm_DiskDrive, a pass-through disk) and Msvm_StorageAllocationSettingData (its medium).
 */
export interface StorageService {
  /** By address. Windows: Msvm_StorageAllocationSettingData of subtype Microsoft:Hyper-V:Virtual Hard Disk. @throws `not-found` */
  hardDiskDrives(vmId: string): Promise<HardDiskDriveInfo[]>;

  /**
   * Windows: AddResourceSettings with a Synthetic Disk Drive, then a Virtual Hard Disk.
   * @throws `invalid-argument` (no such place), `already-exists` (a taken place; the file of a new disk), `in-use` (the
   *   disk), `invalid-state` (IDE of a running machine; saved; no place left), `unsupported`, `not-found`, `corrupt`, `no-space`
   */
  addHardDiskDrive(vmId: string, options: AddHardDiskDriveOptions, long?: LongOptions): Promise<HardDiskDriveInfo>;

  /**
   * The disk's file stays. Windows: RemoveResourceSettings.
   * @throws `not-found`, `invalid-state` (also: changes since a snapshot would be lost), `in-use` (mirrored), `guest-failed`,
   *   `timeout` (the guest does not let go of it)
   */
  removeHardDiskDrive(
    vmId: string,
    address: DriveAddress,
    options?: RemoveHardDiskDriveOptions,
    long?: LongOptions,
  ): Promise<HardDiskDriveInfo>;

  /** Windows: ModifyResourceSettings (HostResource, IOPSLimit, IOPSReservation). @throws as `addHardDiskDrive` */
  setHardDiskDrive(
    vmId: string,
    address: DriveAddress,
    options: SetHardDiskDriveOptions,
    long?: LongOptions,
  ): Promise<HardDiskDriveInfo>;

  /** By address. Windows: Msvm_ResourceAllocationSettingData of subtype Microsoft:Hyper-V:Synthetic DVD Drive. @throws `not-found` */
  dvdDrives(vmId: string): Promise<DvdDriveInfo[]>;

  /** Windows: AddResourceSettings with a Synthetic DVD Drive. @throws as `addHardDiskDrive` */
  addDvdDrive(vmId: string, options?: AddDvdDriveOptions, long?: LongOptions): Promise<DvdDriveInfo>;

  /** Windows: RemoveResourceSettings. @throws as `removeHardDiskDrive` */
  removeDvdDrive(vmId: string, address: DriveAddress, options?: DryRun, long?: LongOptions): Promise<DvdDriveInfo>;

  /**
   * Puts an image into a drive, by default the first; what is in it comes out. Windows: AddResourceSettings with a Virtual
   * CD/DVD Disk. @throws `not-found` (no drive, no file), `invalid-argument` (not a regular file), `invalid-state` (saved)
   */
  mountIso(
    vmId: string,
    isoPath: string,
    options?: DryRun & { readonly address?: DriveAddress },
    long?: LongOptions,
  ): Promise<DvdDriveInfo>;

  /** Nothing happens to an empty drive. Windows: RemoveResourceSettings of the Virtual CD/DVD Disk. @throws as `mountIso` */
  ejectIso(
    vmId: string,
    options?: DryRun & { readonly address?: DriveAddress },
    long?: LongOptions,
  ): Promise<DvdDriveInfo>;

  /** The new count. Windows: AddResourceSettings with a Synthetic SCSI Controller. @throws `invalid-state` (not off; four already) */
  addScsiController(vmId: string, options?: DryRun): Promise<number>;

  /** Takes the last one away; the new count. @throws `invalid-state` (not off; it has drives; there is none) */
  removeScsiController(vmId: string, options?: DryRun): Promise<number>;
}
