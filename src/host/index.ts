/**
 * host: the verbs. One file per service; Host is their sum. The contract is Hyper-V's: each method names the class and
 * method of root\virtualization\v2 that serves it on Windows. An engine implements it, the facade holds it.
 *
 *   facade -> Host -> engines/qemu (Linux) or engines/hyperv (Windows)
 *
 * Must not import an engine.
 */
export type { DiskService } from './disks.ts';
export type { EventService } from './events.ts';
export type { GuestService } from './guest.ts';
export type { Host, HostCapabilities } from './host.ts';
export type { KeyboardService } from './keyboard.ts';
export type { SnapshotService } from './snapshots.ts';
export type {
  AddDvdDriveOptions,
  AddHardDiskDriveOptions,
  DryRun,
  DvdDriveInfo,
  HardDiskDriveInfo,
  RemoveHardDiskDriveOptions,
  SetHardDiskDriveOptions,
  StorageService,
} from './storage.ts';
export type { SwitchService } from './switches.ts';
export type { SystemService } from './system.ts';
export type { ConsoleEndpoint, StopOptions, VmLogs, VmService } from './vms.ts';
