import { lstatSync, realpathSync, statfsSync, unlinkSync } from 'node:fs';
import { basename, dirname, extname, join, sep } from 'node:path';
import { type LongOptions, throwIfAborted } from '../async/index.ts';
import { ZERO_GUID } from '../binary/index.ts';
import { fromSystemError, HvError, invariant, isHvError } from '../errors/index.ts';
import {
  defaultBlockSize,
  inheritableItems,
  locatorPairs,
  type NewVhdx,
  type ParentLocator,
  readVhdxSummary,
  type VhdxType,
  validateNewVhdx,
} from '../formats/vhdx/index.ts';
import { createFile, createImageFile } from './create-file.ts';
import { DiskChain } from './disk-chain.ts';
import { closeQuietly, MAX_CHAIN_DEPTH, openVhdxChain } from './open-chain.ts';
import { openImageFile } from './open-file.ts';
import { locatorPaths, mayHoldParent, parentCandidates, resolveAllowed } from './parent-paths.ts';
import { RawDisk } from './raw-disk.ts';

/** VHD is known by name, so that it can be refused by name. */
export type DiskFormat = 'vhdx' | 'vhd' | 'raw';
type SupportedFormat = Exclude<DiskFormat, 'vhd'>;

const FORMAT_BY_ENDING: Readonly<Record<string, DiskFormat>> = {
  '.vhdx': 'vhdx',
  '.avhdx': 'vhdx',
  '.raw': 'raw',
  '.img': 'raw',
  '.vhd': 'vhd',
  '.avhd': 'vhd',
};

export interface OpenVhdOptions {
  readonly readOnly?: boolean | undefined;
  /** Default: what the name's ending says. A file is never guessed to be raw. */
  readonly format?: DiskFormat | undefined;
  /** Folders or files outside of a child's own folder where parents may lie. */
  readonly allowParents?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A virtual disk that openVhd opened: a chain of VHDX files, or a raw file. */
export type OpenDisk = DiskChain | RawDisk;

/**
 * Opens a virtual disk, with all its parents, for reading and writing unless told otherwise.
 * @throws HvError `not-found`, `permission-denied`, `in-use`, `corrupt`, `parent-changed`, `unsupported`, `invalid-argument`, `io`, `aborted`
 */
export async function openVhd(path: string, options: OpenVhdOptions = {}): Promise<OpenDisk> {
  throwIfAborted(options.signal, 'opening the disk');
  if (formatOf(path, options.format) === 'raw') {
    const access = options.readOnly ? 'read' : 'write';
    return new RawDisk(openImageFile(path, { access }).store);
  }
  return openChain(path, options);
}

/** openVhd for what must be VHDX: what has layers and can have children. @throws HvError as openVhd */
export function openChain(path: string, options: OpenVhdOptions = {}): DiskChain {
  if (formatOf(path, options.format) !== 'vhdx') {
    throw new HvError('unsupported', `${path} is not a VHDX file, which alone can have parents and children`, {
      detail: { path },
    });
  }
  const { readOnly = false, allowParents = [], signal } = options;
  return new DiskChain(openVhdxChain(path, { readOnly, allowParents, signal }));
}

export interface CreateVhdOptions extends LongOptions {
  /** Default: the parent's size for a differencing disk. */
  readonly sizeBytes?: number | undefined;
  /** Default: `differencing` with a parent, else `dynamic`. */
  readonly type?: VhdxType | undefined;
  readonly parentPath?: string | undefined;
  /** Default as Windows: 32 MiB dynamic, 2 MiB fixed and differencing. */
  readonly blockSizeBytes?: number | undefined;
  /** 512 (default) or 4096; a differencing disk has its parent's. */
  readonly logicalSectorSizeBytes?: number | undefined;
  /** 4096 (default) or 512; a differencing disk has its parent's unless it says otherwise. */
  readonly physicalSectorSizeBytes?: number | undefined;
  readonly format?: DiskFormat | undefined;
  /** Where parents of the parent may lie, beside their children's own folders. */
  readonly allowParents?: readonly string[] | undefined;
  /** Check everything that can be checked, make nothing, and answer what would be made. */
  readonly dryRun?: boolean | undefined;
}

/**
 * Makes a new, empty disk file. Never replaces a file, and leaves nothing behind when it fails.
 * @throws HvError `already-exists`, `invalid-argument`, `not-found`, `permission-denied`, `in-use` (the parent), `no-space`, `unsupported`, `io`, `aborted`
 */
export async function createVhd(path: string, options: CreateVhdOptions): Promise<VhdInfo> {
  throwIfAborted(options.signal, 'creating the disk');
  const format = formatOf(path, options.format);
  const type = options.type ?? (options.parentPath === undefined ? 'dynamic' : 'differencing');
  if (type !== 'differencing' && options.parentPath !== undefined) {
    throw new HvError('invalid-argument', `a ${type} disk has no parent`, { detail: { path } });
  }
  const target = resolveNew(path);
  const plan = type === 'differencing' ? planChild(target, format, options) : planDisk(type, format, options);
  mustBeFree(target);
  if (type === 'fixed') mustHaveRoom(target, plan.virtualSizeBytes);
  if (options.dryRun === true) return plannedInfo(target, format, type, plan);
  const { store } =
    format === 'vhdx'
      ? createImageFile(target, plan)
      : createFile(target, (file) => {
          file.setSize(plan.virtualSizeBytes);
          if (type === 'fixed') file.allocate(0, plan.virtualSizeBytes);
        });
  store.close();
  if (options.signal?.aborted) unlinkSync(target);
  throwIfAborted(options.signal, 'creating the disk');
  options.onProgress?.({ phase: 'create', done: 1, total: 1 });
  return vhdInfo(target, { format });
}

function planDisk(type: 'dynamic' | 'fixed', format: SupportedFormat, options: CreateVhdOptions): NewVhdx {
  const { sizeBytes } = options;
  if (sizeBytes === undefined) throw new HvError('invalid-argument', 'a new disk needs a size');
  const plan: NewVhdx = {
    type,
    virtualSizeBytes: sizeBytes,
    blockSizeBytes: options.blockSizeBytes,
    logicalSectorSizeBytes: options.logicalSectorSizeBytes,
    physicalSectorSizeBytes: options.physicalSectorSizeBytes,
  };
  if (format === 'vhdx') validateNewVhdx(plan);
  else if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % 512 !== 0) {
    throw new HvError(
      'invalid-argument',
      `the size of a disk must be a positive multiple of 512 bytes; ${sizeBytes} is not`,
    );
  }
  return plan;
}

/**
 * Says what createVhd would refuse about a plain disk's path, type and sizes, without touching any file.
 * @throws HvError `invalid-argument`, `unsupported`
 */
export function checkNewVhd(path: string, options: CreateVhdOptions): void {
  const type = options.type ?? 'dynamic';
  const format = formatOf(path, options.format);
  if (type !== 'differencing') planDisk(type, format, options);
}

function planChild(target: string, format: SupportedFormat, options: CreateVhdOptions): NewVhdx {
  const { parentPath } = options;
  if (parentPath === undefined)
    throw new HvError('invalid-argument', 'a differencing disk needs the path of its parent');
  if (format !== 'vhdx' || formatOf(parentPath) !== 'vhdx') {
    throw new HvError('unsupported', 'a differencing disk and its parent must both be VHDX files', {
      detail: { path: target, parentPath },
    });
  }
  const layers = openVhdxChain(parentPath, { readOnly: true, allowParents: options.allowParents ?? [] });
  try {
    const parent = layers[0];
    invariant(parent, 'an open chain has a leaf');
    if (layers.length >= MAX_CHAIN_DEPTH) {
      throw new HvError('unsupported', `${parent.path} is the end of a chain that is as deep as one may be`, {
        detail: { path: target, parentPath: parent.path, maxDepth: MAX_CHAIN_DEPTH },
        hint: `A chain has at most ${MAX_CHAIN_DEPTH} files. Make the disk on one of the parents, or copy the whole.`,
      });
    }
    const { metadata, header } = parent.image;
    const logical = options.logicalSectorSizeBytes ?? metadata.logicalSectorSizeBytes;
    if (logical !== metadata.logicalSectorSizeBytes) {
      throw new HvError(
        'invalid-argument',
        `a differencing disk has its parent's sector size, ${metadata.logicalSectorSizeBytes} bytes`,
      );
    }
    const size = options.sizeBytes ?? metadata.virtualSizeBytes;
    if (size < metadata.virtualSizeBytes) {
      throw new HvError(
        'invalid-argument',
        `a differencing disk cannot be smaller than its parent (${metadata.virtualSizeBytes} bytes)`,
      );
    }
    const plan: NewVhdx = {
      type: 'differencing',
      virtualSizeBytes: size,
      blockSizeBytes: options.blockSizeBytes,
      logicalSectorSizeBytes: logical,
      physicalSectorSizeBytes: options.physicalSectorSizeBytes ?? metadata.physicalSectorSizeBytes,
      virtualDiskId: metadata.virtualDiskId,
      locator: locatorPairs(header.dataWriteGuid, ZERO_GUID, locatorPaths(target, parent.path)),
      inheritedItems: inheritableItems(parent.image),
    };
    validateNewVhdx(plan);
    return plan;
  } finally {
    closeQuietly(layers);
  }
}

/** A name that is taken is refused before anything is made; createFile holds it even against a race. */
function mustBeFree(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return;
  throw new HvError('already-exists', `could not create ${path}: it exists already`, { detail: { path } });
}

/** A fixed disk takes its whole size at once: what cannot fit is said before anything is made. */
function mustHaveRoom(path: string, neededBytes: number): void {
  const { blocks, bavail, bsize } = statfsSync(dirname(path));
  const freeBytes = bavail * bsize;
  // Some file systems do not count their blocks; the reservation itself is the judge there.
  if (blocks === 0 || freeBytes >= neededBytes) return;
  throw new HvError('no-space', `${path} needs ${neededBytes} bytes; ${freeBytes} are free there`, {
    detail: { path, neededBytes, freeBytes },
    hint: 'Choose a smaller size or another folder, or make it dynamic.',
  });
}

function plannedInfo(path: string, format: SupportedFormat, type: VhdxType, plan: NewVhdx): VhdInfo {
  const isVhdx = format === 'vhdx';
  return {
    path,
    format,
    type: isVhdx ? type : 'raw',
    virtualSizeBytes: plan.virtualSizeBytes,
    fileSizeBytes: 0,
    allocatedBytes: 0,
    blockSizeBytes: isVhdx ? (plan.blockSizeBytes ?? defaultBlockSize(type)) : null,
    logicalSectorSizeBytes: plan.logicalSectorSizeBytes ?? 512,
    physicalSectorSizeBytes: plan.physicalSectorSizeBytes ?? 4096,
    identifier: null,
    dataWriteGuid: null,
    parentPath: plan.locator?.find(([key]) => key === 'absolute_win32_path')?.[1].replaceAll('\\', sep) ?? null,
    parentFound: plan.locator !== undefined,
    inUse: false,
  };
}

/** What a disk file is, as plain data. */
export interface VhdInfo {
  readonly path: string;
  readonly format: DiskFormat;
  readonly type: VhdxType | 'raw';
  readonly virtualSizeBytes: number;
  /** The file's length; the space that it takes may be less. */
  readonly fileSizeBytes: number;
  readonly allocatedBytes: number;
  readonly blockSizeBytes: number | null;
  readonly logicalSectorSizeBytes: number;
  readonly physicalSectorSizeBytes: number;
  /** The virtual disk's id. */
  readonly identifier: string | null;
  readonly dataWriteGuid: string | null;
  /** Where the parent lies; where it cannot be found, what the file says of it. */
  readonly parentPath: string | null;
  readonly parentFound: boolean;
  /** Another process has it open for writing. */
  readonly inUse: boolean;
}

export interface VhdInfoOptions {
  readonly format?: DiskFormat | undefined;
  /** Where the parent may lie beside the child's own folder; elsewhere it is named but does not count as found. */
  readonly allowParents?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Tells what a disk file is. Opens no parent; works while the disk is in use.
 * @throws HvError `not-found`, `permission-denied`, `corrupt`, `unsupported`, `invalid-argument`, `io`
 */
export async function vhdInfo(path: string, options: VhdInfoOptions = {}): Promise<VhdInfo> {
  throwIfAborted(options.signal);
  const format = formatOf(path, options.format);
  const { file, inUse } = openToLook(path);
  try {
    const size = { fileSizeBytes: file.store.size(), allocatedBytes: file.store.allocatedBytes() };
    if (format === 'raw') {
      return {
        path: file.path,
        format,
        type: 'raw',
        virtualSizeBytes: size.fileSizeBytes,
        ...size,
        blockSizeBytes: null,
        logicalSectorSizeBytes: 512,
        physicalSectorSizeBytes: 4096,
        identifier: null,
        dataWriteGuid: null,
        parentPath: null,
        parentFound: false,
        inUse,
      };
    }
    const { header, metadata } = readVhdxSummary(file.store, inUse);
    const parent = whereIsParent(file.path, metadata.locator, options.allowParents ?? []);
    return {
      path: file.path,
      format,
      type: metadata.hasParent ? 'differencing' : metadata.leaveBlockAllocated ? 'fixed' : 'dynamic',
      virtualSizeBytes: metadata.virtualSizeBytes,
      ...size,
      blockSizeBytes: metadata.blockSizeBytes,
      logicalSectorSizeBytes: metadata.logicalSectorSizeBytes,
      physicalSectorSizeBytes: metadata.physicalSectorSizeBytes,
      identifier: metadata.virtualDiskId,
      dataWriteGuid: header.dataWriteGuid,
      ...parent,
      inUse,
    };
  } finally {
    file.store.close();
  }
}

/** The format of a path: said, or by its ending. @throws HvError `unsupported` */
export function formatOf(path: string, said?: DiskFormat): SupportedFormat {
  const ending = extname(path).toLowerCase();
  const format = said ?? FORMAT_BY_ENDING[ending];
  if (format === 'vhd') {
    throw new HvError('unsupported', `${path}: the VHD format is not supported yet`, {
      detail: { path, format },
      hint: 'Use VHDX.',
    });
  }
  if (format === undefined) {
    throw new HvError(
      'unsupported',
      `${path}: the ending ${ending === '' ? '(none)' : ending} names no disk format that hv knows`,
      {
        detail: { path, ending },
        hint: 'Use the ending .vhdx, or say the format with --format.',
      },
    );
  }
  return format;
}

/** Locked against writers where possible; where one has it, without a lock. */
function openToLook(path: string): { file: ReturnType<typeof openImageFile>; inUse: boolean } {
  try {
    return { file: openImageFile(path, { access: 'read' }), inUse: false };
  } catch (error) {
    if (!isHvError(error, 'in-use')) throw error;
    return { file: openImageFile(path, { access: 'read', lock: false }), inUse: true };
  }
}

function whereIsParent(
  childPath: string,
  locator: ParentLocator | undefined,
  allowParents: readonly string[],
): Pick<VhdInfo, 'parentPath' | 'parentFound'> {
  if (!locator) return { parentPath: null, parentFound: false };
  const there = parentCandidates(childPath, locator).flatMap((candidate) => realOrUndefined(candidate) ?? []);
  const allowed = resolveAllowed(allowParents);
  const found = there.find((path) => mayHoldParent(childPath, path, allowed));
  const { absolutePath } = locator;
  // A path that was written on such a system as this one is shown as this system writes it.
  const isOurs = absolutePath !== undefined && /^\\(?![\\?.])/.test(absolutePath);
  const said = isOurs
    ? absolutePath.replaceAll('\\', sep)
    : (absolutePath ?? locator.relativePath ?? locator.volumePath ?? null);
  return { parentPath: found ?? there[0] ?? said, parentFound: found !== undefined };
}

function realOrUndefined(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined; // Not there, or not to be seen: the caller falls back to what the file says.
  }
}

/** The path that a new file will have, without links. */
function resolveNew(path: string): string {
  try {
    return join(realpathSync(dirname(path)), basename(path));
  } catch (error) {
    throw fromSystemError(error, `could not create ${path}`, { path });
  }
}
