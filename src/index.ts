/**
 * hv: Hyper-V management from TypeScript. Start with HyperV.open(); openVhd works on disk files anywhere.
 */
export type { LongOptions, OnProgress, Progress } from './async/index.ts';
export { HyperV, type OpenOptions, openHost } from './compose.ts';
export {
  type AttachedDisk,
  type AttachedPartition,
  type BackupOptions,
  type BackupResult,
  type BlockDevice,
  backupDisk,
  type ChangeTrackingInfo,
  type CheckVhdOptions,
  type CompactedVolume,
  type CompactOptions,
  type CompactResult,
  type CompareOptions,
  type CompareResult,
  type ConvertOptions,
  type ConvertResult,
  type CreateVhdOptions,
  changeTrackingState,
  checkVhd,
  compactVhd,
  compareVhds,
  convertVhd,
  createVhd,
  DiskChain,
  type DiskChanges,
  disableChangeTracking,
  enableChangeTracking,
  hashVhd,
  type IdentityChange,
  type ImageFormat,
  type MapEntry,
  type MountVhdOptions,
  type MountWay,
  mapVhd,
  openVhd,
  queryChanges,
  type ResizeOptions,
  type ResizeResult,
  resizeVhd,
  smallestSafeSize,
  takeReferencePoint,
  type UserMetadataItem,
  type VhdCheck,
  type VhdInfo,
  type VhdInfoOptions,
  vhdInfo,
} from './disk/index.ts';
export { HV_ERROR_CODES, HvError, type HvErrorCode, type HvErrorJson, isHvError } from './errors/index.ts';
export { type CreateVhdFileOptions, Snapshot, Vhd, VhdSet, Vm } from './facade/index.ts';
export type { ConsoleEndpoint, Host, HostCapabilities, VmLogs } from './host/index.ts';
export type {
  CreateVmOptions,
  DoctorFinding,
  GuestProfile,
  HardDiskDrive,
  HostInfo,
  HostSettings,
  NetworkAdapter,
  SnapshotInfo,
  SnapshotType,
  SwitchInfo,
  SwitchType,
  VmGeneration,
  VmInfo,
  VmState,
  VmSummary,
  WaitCondition,
} from './model/index.ts';
export { DEFAULT_SWITCH } from './model/index.ts';
export {
  executeScsi,
  type ScsiCommandOptions,
  type ScsiResult,
  ScsiTarget,
  type ScsiTargetOptions,
} from './protocols/scsi/index.ts';
export { buildLinuxTemplate } from './provision/index.ts';
