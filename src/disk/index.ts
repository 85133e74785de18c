/**
 * disk: virtual disks in files, portable and offline: no VM, no hypervisor.
 *
 *     openVhd -> open-chain (parents: where they may lie, identity) -> DiskChain of DiskImages (formats/*) -> store -> system
 *     createVhd -> create-file (temporary name, flush, link)         or RawDisk
 *
 * BlockDevice is what everything above reads and writes. Must not import protocols, host, engines or model.
 */

export type {
  AttachedDisk,
  AttachedPartition,
  MountVhdOptions,
  MountWay,
  MountWayFinding,
} from './attached-disk.ts';
export {
  type BackupOptions,
  type BackupPiece,
  type BackupResult,
  type BackupSource,
  backupDisk,
  backupSource,
  checkTarget,
} from './backup.ts';
export type { BlockDevice, Extent, FileRange } from './block-device.ts';
export type { ChangeTrackingInfo, DiskChanges, QueryChangesOptions } from './chain-changes.ts';
export { changeIdentity, type IdentityChange } from './change-identity.ts';
export {
  changeTrackingState,
  disableChangeTracking,
  enableChangeTracking,
  type FileQueryOptions,
  goOnTracking,
  queryChanges,
  takeReferencePoint,
} from './changed-blocks.ts';
export { type CheckVhdOptions, checkVhd, type VhdCheck } from './check.ts';
export { type CompactedVolume, type CompactOptions, type CompactResult, compactVhd } from './compact.ts';
export { type CompareOptions, type CompareResult, compareVhds } from './compare.ts';
export { type ConvertOptions, type ConvertResult, convertVhd } from './convert.ts';
export { type CreateVhdOptions, checkNewVhd, createVhd } from './create-vhd.ts';
export { type CreateVhdSetOptions, checkNewVhdSet, createVhdSet } from './create-vhd-set.ts';
export {
  type DependenciesOptions,
  type DependencyFile,
  type DependentFile,
  type DiskDependencies,
  diskDependencies,
} from './dependencies.ts';
export { DiskChain, type LayerInfo } from './disk-chain.ts';
export { type DiskFormat, formatOf } from './disk-format.ts';
export { type ChangeOptions, type DiskUser, FileDisks, type MayChangeOptions } from './file-disks.ts';
export { FollowingCopy } from './following-copy.ts';
export { DiskFork, type ForkVhdOptions, forkVhd } from './fork.ts';
export { type HashOptions, type HashResult, hashVhd } from './hash.ts';
export { type ForeignFormat, type ImageFormat, imageFormatOf } from './image-format.ts';
export { type KnownChildren, type KnownChildrenOptions, knownChildren } from './known-children.ts';
export { beginLiveBackup, type LiveBackup } from './live-backup.ts';
export { LiveMerge } from './live-merge.ts';
export { type MapEntry, type MapOptions, mapVhd } from './map.ts';
export { type MergeOptions, mergeIntoParent } from './merge.ts';
export { type MergeResult, type MergeVhdOptions, mergeVhd } from './merge-vhd.ts';
export { type BreakMirrorOptions, type BrokenMirror, noDriveOf } from './mirror.ts';
export { MirrorDevice, WholeDevice } from './mirror-device.ts';
export { type OpenDisk, type OpenVhdOptions, openChain, openVhd } from './open-vhd.ts';
export { physicalDiskSize } from './physical-disk.ts';
export { RawDisk } from './raw-disk.ts';
export type { LinkState } from './read-chain.ts';
export { type ResizeOptions, type ResizeResult, resizeVhd } from './resize.ts';
export { type SetParentOptions, setParent } from './set-parent.ts';
export { trackingPath } from './tracking-file.ts';
export {
  deleteUserMetadata,
  getUserMetadata,
  listUserMetadata,
  setUserMetadata,
  type UserMetadataItem,
} from './user-metadata.ts';
export { type StorageType, type VhdInfo, type VhdInfoOptions, vhdInfo } from './vhd-info.ts';
export { type VhdSetInfo, type VhdSetOptions, type VhdSetSnapshotInfo, vhdSetInfo } from './vhd-set-info.ts';
export { modifyVhdSet, optimizeVhdSet, type VhdSetChange } from './vhd-set-modify.ts';
export {
  type ApplySetSnapshotOptions,
  applyVhdSetSnapshot,
  type DeleteSetSnapshotOptions,
  deleteVhdSetSnapshot,
  type TakeSetSnapshotOptions,
  takeVhdSetSnapshot,
} from './vhd-set-snapshots.ts';
export { moveGptBackup } from './volumes/move-gpt-backup.ts';
export { type Partition, type PartitionTable, readPartitionTable } from './volumes/partitions.ts';
export { smallestSafeSize } from './volumes/smallest-safe-size.ts';
