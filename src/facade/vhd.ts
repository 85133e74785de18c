import type { LongOptions } from '../async/index.ts';
import type {
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
  DependenciesOptions,
  DiskChanges,
  DiskDependencies,
  FileQueryOptions,
  ForkVhdOptions,
  HashOptions,
  HashResult,
  IdentityChange,
  MapEntry,
  MapOptions,
  MergeResult,
  MergeVhdOptions,
  MountVhdOptions,
  ResizeOptions,
  ResizeResult,
  SetParentOptions,
  UserMetadataItem,
  VhdCheck,
  VhdInfo,
  VhdInfoOptions,
} from '../disk/index.ts';
import type { Host } from '../host/index.ts';

export type CreateVhdFileOptions = CreateVhdOptions;

/** A virtual hard disk file of this host. */
export class Vhd {
  readonly path: string;
  readonly #host: Host;

  constructor(host: Host, path: string) {
    this.#host = host;
    this.path = path;
  }

  /**
   * Format, type, sizes in bytes, identifiers, parent; with `all` also what its contents must be read for.
   * @throws HvError `not-found`, `corrupt`
   */
  info(options: VhdInfoOptions = {}): Promise<VhdInfo> {
    return this.#host.disks.info(this.path, options);
  }

  async format(): Promise<VhdInfo['format']> {
    return (await this.info()).format;
  }

  async vhdType(): Promise<VhdInfo['type']> {
    return (await this.info()).type;
  }

  async maxSizeBytes(): Promise<number> {
    return (await this.info()).virtualSizeBytes;
  }

  async fileSizeBytes(): Promise<number> {
    return (await this.info()).fileSizeBytes;
  }

  async parentPath(): Promise<string | null> {
    return (await this.info()).parentPath;
  }

  /**
   * Makes this differencing disk stand on that file, which must be what it was made from, or be said to be the same.
   * @throws HvError `parent-changed`, `invalid-state`, `invalid-argument`, `unsupported`, `in-use`, `not-found`
   */
  setParent(parentPath: string, options: SetParentOptions & ChangeOptions = {}): Promise<VhdInfo> {
    return this.#host.disks.setParent(this.path, parentPath, options);
  }

  /**
   * Merges this differencing disk into its parent, or further up; the merged files go unless they are to be kept.
   * @throws HvError `invalid-state`, `invalid-argument`, `in-use`, `no-space`, `parent-changed`, `not-found`, `aborted`
   */
  merge(options: MergeVhdOptions & ChangeOptions = {}): Promise<MergeResult> {
    return this.#host.disks.merge(this.path, options);
  }

  /**
   * Mirrors this disk of a running machine to a new file; resolves when both hold the same, which they do from then on.
   * @throws HvError `invalid-state` (no running machine has it), `already-exists`, `in-use`, `no-space`, `io`
   */
  mirror(targetPath: string, options: LongOptions = {}): Promise<void> {
    return this.#host.disks.mirror(this.path, targetPath, options);
  }

  /**
   * Ends a mirror: the machine goes on with this file, or with the mirror.
   * @throws HvError `invalid-state` (no mirror, or not synchronized; for a switch: snapshots stand on the disk), `io`, `no-space`
   */
  breakMirror(options: BreakMirrorOptions = {}): Promise<BrokenMirror> {
    return this.#host.disks.breakMirror(this.path, options);
  }

  /**
   * What is wrong with the file and its parents; `repair` sets right what the file itself proves.
   * @throws HvError `not-found`, `in-use`, `unsupported`
   */
  check(options: CheckVhdOptions & ChangeOptions = {}): Promise<VhdCheck> {
    return this.#host.disks.check(this.path, options);
  }

  /**
   * Makes the disk larger or smaller; `minimum` is the smallest size that is safe.
   * @throws HvError `invalid-state` (below that, without `unsafe`), `invalid-argument`, `no-space`, `in-use`, `not-found`
   */
  resize(sizeBytes: number | 'minimum', options: ResizeOptions & ChangeOptions = {}): Promise<ResizeResult> {
    return this.#host.disks.resize(this.path, sizeBytes, options);
  }

  /**
   * Makes the file smaller: gives back zeros, and what clean file systems in the disk hold free, unless `freeSpace` is false.
   * @throws HvError `unsupported` (a fixed or raw disk), `in-use`, `not-found`, `corrupt`, `no-space`, `aborted`
   */
  compact(options: CompactOptions & ChangeOptions = {}): Promise<CompactResult> {
    return this.#host.disks.compact(this.path, options);
  }

  /** Changes the disk's id or its physical sector size. @throws HvError `invalid-argument`, `unsupported`, `in-use` */
  set(change: IdentityChange, options: ChangeOptions = {}): Promise<VhdInfo> {
    return this.#host.disks.set(this.path, change, options);
  }

  /** The user metadata items of a VHDX file. @throws HvError `unsupported`, `not-found` */
  listMetadata(): Promise<readonly UserMetadataItem[]> {
    return this.#host.disks.listMetadata(this.path);
  }

  /** @throws HvError `not-found`, `unsupported` */
  getMetadata(id: string): Promise<Uint8Array> {
    return this.#host.disks.getMetadata(this.path, id);
  }

  /** Sets an item of at most 1 MiB under a GUID. @throws HvError `invalid-argument`, `unsupported`, `in-use`, `no-space` */
  setMetadata(id: string, bytes: Uint8Array, options: ChangeOptions = {}): Promise<void> {
    return this.#host.disks.setMetadata(this.path, id, bytes, options);
  }

  /** @throws HvError `not-found`, `unsupported`, `in-use` */
  deleteMetadata(id: string, options: ChangeOptions = {}): Promise<void> {
    return this.#host.disks.deleteMetadata(this.path, id, options);
  }

  /**
   * Copies this disk, with all that it has from its parents, into a new file of any format and type.
   * @throws HvError `already-exists`, `in-use`, `corrupt`, `unsupported`, `invalid-argument`, `no-space`, `missing-dependency`, `aborted`
   */
  convert(path: string, options: ConvertOptions = {}): Promise<ConvertResult> {
    return this.#host.disks.convert(this.path, path, options);
  }

  /** Whether this disk and another hold the same, and where they differ first. @throws HvError `not-found`, `in-use`, `corrupt` */
  compare(otherPath: string, options: CompareOptions = {}): Promise<CompareResult> {
    return this.#host.disks.compare(this.path, otherPath, options);
  }

  /** What this disk is made of, in order: data, zeros, what is unmapped, what comes from a parent. @throws HvError `in-use`, `corrupt` */
  map(options: MapOptions = {}): Promise<MapEntry[]> {
    return this.#host.disks.map(this.path, options);
  }

  /** The SHA-256 of all that this disk holds. @throws HvError `in-use`, `corrupt` */
  hash(options: HashOptions = {}): Promise<HashResult> {
    return this.#host.disks.hash(this.path, options);
  }

  /** A second branch of this disk, in a new file on the same parent. @throws HvError `already-exists`, `in-use`, `no-space` */
  async fork(newPath: string, options: ForkVhdOptions & ChangeOptions = {}): Promise<Vhd> {
    return new Vhd(this.#host, (await this.#host.disks.fork(this.path, newPath, options)).path);
  }

  /** On what this disk stands and what stands on it. @throws HvError `not-found`, `corrupt` */
  dependencies(options: DependenciesOptions = {}): Promise<DiskDependencies> {
    return this.#host.disks.dependencies(this.path, options);
  }

  /** Whether changed blocks are tracked (resilient change tracking), and the most recent id. */
  changeTracking(): Promise<ChangeTrackingInfo> {
    return this.#host.disks.changeTracking(this.path);
  }

  /** @throws HvError `unsupported` (not VHDX), `in-use`, `permission-denied` */
  enableChangeTracking(): Promise<ChangeTrackingInfo> {
    return this.#host.disks.enableChangeTracking(this.path);
  }

  /** All ids are void afterwards. */
  disableChangeTracking(): Promise<ChangeTrackingInfo> {
    return this.#host.disks.disableChangeTracking(this.path);
  }

  /** An id that names this moment, for queryChanges later. @throws HvError `invalid-state` (tracking is off) */
  takeReferencePoint(): Promise<string> {
    return this.#host.disks.takeReferencePoint(this.path);
  }

  /**
   * The ranges that may have changed since an id was made; never fewer than did.
   * @throws HvError `invalid-state` (detail.reason `tracking-off`, `tracking-broken`), `not-found` (detail.reason `unknown-id`)
   */
  queryChanges(sinceId: string, options: FileQueryOptions = {}): Promise<DiskChanges> {
    return this.#host.disks.queryChanges(this.path, sinceId, options);
  }

  /** A copy of this tracked disk, or with `sinceId` of what changed since the last one. @throws HvError as queryChanges, `already-exists`, `no-space` */
  backup(targetPath: string, options: BackupOptions = {}): Promise<BackupResult> {
    return this.#host.disks.backup(this.path, targetPath, options);
  }

  /**
   * Shows this disk to the host, as a block device or as files with its partitions, until it is dismounted. Outlives this
   * process. @throws HvError `in-use` (also: mounted already), `missing-dependency` (what the host lacks), `unsupported`, `corrupt`
   */
  mount(options: MountVhdOptions = {}): Promise<AttachedDisk> {
    return this.#host.disks.mount(this.path, options);
  }

  /** Flushes and closes it; nothing shows it any more. @throws HvError `not-found` (not mounted), `in-use` (somebody still uses it) */
  dismount(options: Pick<LongOptions, 'signal'> = {}): Promise<void> {
    return this.#host.disks.dismount(this.path, options);
  }

  /** A running or defined machine of this host uses the file, or the host shows it. */
  async isAttached(): Promise<boolean> {
    if ((await this.#host.disks.users(this.path)).length > 0) return true;
    return (await this.#host.disks.attached()).some(({ path }) => path === this.path);
  }
}
