import type { LongOptions } from '../async/index.ts';
import type {
  ApplySetSnapshotOptions,
  AttachedDisk,
  BackupOptions,
  BackupResult,
  BreakMirrorOptions,
  BrokenMirror,
  ChangeOptions,
  ChangeTrackingInfo,
  CheckVhdOptions,
  CompactOptions,
  CompactResult,
  CompareOptions,
  CompareResult,
  ConvertOptions,
  ConvertResult,
  CreateVhdOptions,
  CreateVhdSetOptions,
  DeleteSetSnapshotOptions,
  DependenciesOptions,
  DiskChanges,
  DiskDependencies,
  DiskUser,
  FileQueryOptions,
  ForkVhdOptions,
  HashOptions,
  HashResult,
  IdentityChange,
  MapEntry,
  MapOptions,
  MayChangeOptions,
  MergeResult,
  MergeVhdOptions,
  MountVhdOptions,
  MountWayFinding,
  ResizeOptions,
  ResizeResult,
  SetParentOptions,
  TakeSetSnapshotOptions,
  UserMetadataItem,
  VhdCheck,
  VhdInfo,
  VhdInfoOptions,
  VhdSetChange,
  VhdSetInfo,
  VhdSetOptions,
} from '../disk/index.ts';

/** Virtual hard disk files as this host handles them (Msvm_ImageManagementService, VirtDisk). */
export interface DiskService {
  /** Windows: CreateVirtualHardDisk (Msvm_VirtualHardDiskSettingData). @throws `already-exists`, `invalid-argument`, `no-space` */
  create(path: string, options: CreateVhdOptions & LongOptions): Promise<VhdInfo>;

  /**
   * Windows: GetVirtualHardDiskSettingData, GetVirtualHardDiskState; GetVirtualDiskInformation (virtdisk.h).
   * @throws `not-found`, `corrupt`
   */
  info(path: string, options?: VhdInfoOptions): Promise<VhdInfo>;

  /**
   * Makes a differencing disk stand on that file. Windows: SetParentVirtualHardDisk (Msvm_ImageManagementService),
   * AddVirtualDiskParent (virtdisk.h).
   * @throws `parent-changed`, `invalid-state`, `invalid-argument`, `unsupported`, `in-use`, `not-found`
   */
  setParent(path: string, parentPath: string, options?: SetParentOptions & ChangeOptions): Promise<VhdInfo>;

  /**
   * Merges a differencing disk into its parent, or further up; resumed when called again. Windows: MergeVirtualHardDisk
   * (Msvm_ImageManagementService), MergeVirtualDisk (virtdisk.h).
   * @throws `invalid-state`, `invalid-argument`, `in-use`, `no-space`, `parent-changed`, `not-found`, `aborted`
   */
  merge(path: string, options?: MergeVhdOptions & ChangeOptions): Promise<MergeResult>;

  /**
   * Makes a second file that holds the same as a running machine's disk, and has every write go to both from then on.
   * Resolves when both are the same; an abort stops waiting, not the mirror. When the second file fails, the mirror ends
   * and the machine goes on. Windows: MirrorVirtualDisk (virtdisk.h).
   * @throws `invalid-state` (no running machine has it), `already-exists`, `in-use` (mirrored elsewhere), `no-space`, `io`
   */
  mirror(path: string, targetPath: string, options?: LongOptions): Promise<void>;

  /**
   * Ends a mirror: the machine goes on with its own file, or with the mirror. Windows: BreakMirrorVirtualDisk (virtdisk.h).
   * @throws `invalid-state` (no mirror, or not synchronized; for a switch: snapshots stand on the disk), `io`, `no-space`
   */
  breakMirror(path: string, options?: BreakMirrorOptions): Promise<BrokenMirror>;

  /**
   * Checks a disk file against every rule of its format, and its parents; repairs what the file proves when told to.
   * Windows: ValidateVirtualHardDisk (Msvm_ImageManagementService). @throws `not-found`, `in-use`, `unsupported`
   */
  check(path: string, options?: CheckVhdOptions & ChangeOptions): Promise<VhdCheck>;

  /**
   * Makes a disk larger or smaller. Windows: ResizeVirtualHardDisk (Msvm_ImageManagementService), ResizeVirtualDisk (virtdisk.h).
   * @throws `invalid-state` (below the smallest safe size), `invalid-argument`, `no-space`, `in-use`, `not-found`
   */
  resize(path: string, sizeBytes: number | 'minimum', options?: ResizeOptions & ChangeOptions): Promise<ResizeResult>;

  /**
   * Makes the file of a disk smaller without changing what files in the disk hold. Windows: CompactVirtualHardDisk
   * (Msvm_ImageManagementService), CompactVirtualDisk (virtdisk.h).
   * @throws `unsupported` (a fixed or raw disk), `in-use`, `not-found`, `corrupt`, `no-space`, `aborted`
   */
  compact(path: string, options?: CompactOptions & ChangeOptions): Promise<CompactResult>;

  /**
   * Changes the disk's id or its physical sector size. Windows: SetVirtualHardDiskSettingData
   * (Msvm_ImageManagementService), SetVirtualDiskInformation (virtdisk.h). @throws `invalid-argument`, `unsupported`, `in-use`
   */
  set(path: string, change: IdentityChange, options?: ChangeOptions): Promise<VhdInfo>;

  /** Windows: EnumerateVirtualDiskMetadata (virtdisk.h). @throws `unsupported`, `not-found` */
  listMetadata(path: string): Promise<readonly UserMetadataItem[]>;

  /** Windows: GetVirtualDiskMetadata (virtdisk.h). @throws `unsupported`, `not-found` */
  getMetadata(path: string, id: string): Promise<Uint8Array>;

  /** Windows: SetVirtualDiskMetadata (virtdisk.h). @throws `invalid-argument`, `unsupported`, `in-use`, `no-space` */
  setMetadata(path: string, id: string, bytes: Uint8Array, options?: ChangeOptions): Promise<void>;

  /** Windows: DeleteVirtualDiskMetadata (virtdisk.h). @throws `not-found`, `unsupported`, `in-use` */
  deleteMetadata(path: string, id: string, options?: ChangeOptions): Promise<void>;

  /** On what a disk stands and what stands on it. Windows: GetStorageDependencyInformation (virtdisk.h). @throws `not-found`, `corrupt` */
  dependencies(path: string, options?: DependenciesOptions): Promise<DiskDependencies>;

  /**
   * Whether changed blocks are tracked (resilient change tracking), and the most recent id. Windows:
   * GetVirtualDiskInformation, GET_VIRTUAL_DISK_INFO_CHANGE_TRACKING_STATE.
   */
  changeTracking(path: string): Promise<ChangeTrackingInfo>;

  /** Windows: SetVirtualDiskInformation, SET_VIRTUAL_DISK_INFO_CHANGE_TRACKING_STATE. @throws `unsupported` (not VHDX), `in-use` */
  enableChangeTracking(path: string): Promise<ChangeTrackingInfo>;

  disableChangeTracking(path: string): Promise<ChangeTrackingInfo>;

  /** An id that names this moment. Windows: ConvertToReferencePoint (Msvm_VirtualSystemSnapshotService). @throws `invalid-state` */
  takeReferencePoint(path: string): Promise<string>;

  /**
   * The ranges that may have changed since an id was made. Windows: QueryChangesVirtualDisk (virtdisk.h),
   * GetVirtualDiskChanges (Msvm_ImageManagementService).
   * @throws `invalid-state` (detail.reason `tracking-off`, `tracking-broken`), `not-found` (detail.reason `unknown-id`)
   */
  queryChanges(path: string, sinceId: string, options?: FileQueryOptions): Promise<DiskChanges>;

  /** A copy of a tracked disk, or of what changed since the last one. @throws as queryChanges, `already-exists`, `no-space` */
  backup(path: string, targetPath: string, options?: BackupOptions): Promise<BackupResult>;

  /**
   * Copies a disk into a new file of another format or type. Windows: ConvertVirtualHardDisk (Msvm_ImageManagementService),
   * CreateVirtualDisk with a SourcePath (virtdisk.h).
   * @throws `already-exists`, `not-found`, `in-use`, `corrupt`, `unsupported`, `invalid-argument`, `no-space`, `missing-dependency`
   */
  convert(sourcePath: string, path: string, options?: ConvertOptions): Promise<ConvertResult>;

  /** Whether two disks hold the same. Windows: reading two attached disks. @throws `not-found`, `in-use`, `corrupt` */
  compare(firstPath: string, secondPath: string, options?: CompareOptions): Promise<CompareResult>;

  /** What a disk is made of. Windows: GET LBA STATUS to an attached disk. @throws `not-found`, `in-use`, `corrupt` */
  map(path: string, options?: MapOptions): Promise<MapEntry[]>;

  /** The SHA-256 of all that a disk holds. Windows: reading an attached disk. @throws `not-found`, `in-use`, `corrupt` */
  hash(path: string, options?: HashOptions): Promise<HashResult>;

  /** A second branch of a disk, on the same parent. Windows: ForkVirtualDisk (virtdisk.h). @throws `already-exists`, `in-use`, `invalid-argument`, `no-space` */
  fork(path: string, newPath: string, options?: ForkVhdOptions & ChangeOptions): Promise<VhdInfo>;

  /** A VHD Set over a new disk or one that exists. Windows: CreateVirtualDisk with a .vhds path. @throws `already-exists`, `invalid-argument`, `no-space`, `unsupported` */
  createSet(path: string, options: CreateVhdSetOptions): Promise<VhdSetInfo>;

  /** Windows: QueryVirtualDiskSets, GetVHDSetInformation (Msvm_ImageManagementService). @throws `not-found`, `corrupt`, `unsupported` */
  setInfo(path: string, options?: VhdSetOptions): Promise<VhdSetInfo>;

  /** Windows: TakeSnapshotVhdSet (virtdisk.h). @throws `already-exists`, `in-use`, `no-space`, `unsupported` */
  takeSetSnapshot(path: string, options?: TakeSetSnapshotOptions & ChangeOptions): Promise<VhdSetInfo>;

  /** Windows: ApplySnapshotVhdSet (virtdisk.h). @throws `not-found`, `invalid-state`, `in-use`, `no-space` */
  applySetSnapshot(
    path: string,
    snapshotId: string,
    options?: ApplySetSnapshotOptions & ChangeOptions,
  ): Promise<VhdSetInfo>;

  /** Windows: DeleteSnapshotVhdSet (virtdisk.h). @throws `not-found`, `in-use` */
  deleteSetSnapshot(
    path: string,
    snapshotId: string,
    options?: DeleteSetSnapshotOptions & ChangeOptions,
  ): Promise<VhdSetInfo>;

  /** Windows: ModifyVhdSet (virtdisk.h). @throws `not-found`, `invalid-argument`, `parent-changed`, `in-use` */
  modifySet(path: string, change: VhdSetChange, options?: VhdSetOptions & ChangeOptions): Promise<VhdSetInfo>;

  /** Windows: OptimizeVHDSet (Msvm_ImageManagementService). @throws `in-use`, `no-space`, `parent-changed` */
  optimizeSet(path: string, options?: VhdSetOptions & ChangeOptions): Promise<VhdSetInfo>;

  /**
   * Shows a disk to this host, as a block device or as files, until it is dismounted; survives this process.
   * Windows: AttachVirtualDisk (virtdisk.h), MountVirtualHardDisk (Msvm_ImageManagementService).
   * @throws `in-use` (also: mounted already), `missing-dependency` (what the host lacks for it), `unsupported`, `not-found`, `corrupt`
   */
  mount(path: string, options?: MountVhdOptions): Promise<AttachedDisk>;

  /** Windows: DetachVirtualDisk, Msvm_MountedStorageImage.DetachVirtualHardDisk. @throws `not-found` (not mounted), `in-use` */
  dismount(path: string, options?: Pick<LongOptions, 'signal'>): Promise<void>;

  /** How this host can show disks, best first, and what it lacks for the rest. */
  mountWays(): Promise<readonly MountWayFinding[]>;

  /** Every disk that this host shows. Windows: GetAllAttachedVirtualDiskPhysicalPaths (virtdisk.h). */
  attached(): Promise<readonly AttachedDisk[]>;

  /** The machines that use this file, as a drive, under a snapshot, or as a parent. */
  users(path: string): Promise<readonly DiskUser[]>;

  /** Refuses a change that would ruin what stands on the file; every method that writes asks it first. @throws `in-use` */
  mayChange(path: string, options?: MayChangeOptions): Promise<void>;
}
