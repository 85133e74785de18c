import { realpathSync, unlinkSync } from 'node:fs';
import { basename, dirname, extname, join } from 'node:path';
import { type LongOptions, throwIfAborted } from '../async/index.ts';
import { ZERO_GUID } from '../binary/index.ts';
import { fromSystemError, HvError, isHvError } from '../errors/index.ts';
import {
  inheritableItems,
  locatorPairs,
  type NewVhdx,
  readVhdxSummary,
  type VhdxType,
  validateNewVhdx,
} from '../formats/vhdx/index.ts';
import { createFile, createImageFile } from './create-file.ts';
import { DiskChain } from './disk-chain.ts';
import { closeQuietly, openVhdxChain } from './open-chain.ts';
import { openImageFile } from './open-file.ts';
import { locatorPaths, parentCandidates } from './parent-paths.ts';
import { RawDisk } from './raw-disk.ts';

export type DiskFormat = 'vhdx' | 'raw';

const FORMAT_BY_ENDING: Readonly<Record<string, DiskFormat | 'vhd'>> = {
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
 * Opens a virtual disk for reading and writing, with all its parents.
 * @throws HvError `not-found`, `permission-denied`, `in-use`, `corrupt`, `parent-changed`, `unsupported`, `invalid-argument`, `io`, `aborted`
 */
export async function openVhd(path: string, options: OpenVhdOptions = {}): Promise<OpenDisk> {
  throwIfAborted(options.signal, 'opening the disk');
  const readOnly = options.readOnly ?? false;
  if (formatOf(path, options.format) === 'raw') {
    return new RawDisk(openImageFile(path, { access: readOnly ? 'read' : 'write' }).store);
  }
  return openChain(path, options);
}

/** openVhd for what must be a VHDX chain: what has layers and children. */
export function openChain(path: string, options: OpenVhdOptions = {}): DiskChain {
  if (formatOf(path, options.format) !== 'vhdx') {
    throw new HvError('unsupported', `${path} is not a VHDX file, which alone can have parents and children`, {
      detail: { path },
    });
  }
  const layers = openVhdxChain(path, {
    readOnly: options.readOnly ?? false,
    allowParents: options.allowParents ?? [],
    signal: options.signal,
  });
  return new DiskChain(layers);
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
}

/**
 * Makes a new, empty disk file. Never replaces a file, and leaves nothing behind when it fails.
 * @throws HvError `already-exists`, `invalid-argument`, `not-found`, `permission-denied`, `in-use` (the parent), `no-space`, `unsupported`, `io`, `aborted`
 */
export async function createVhd(path: string, options: CreateVhdOptions): Promise<VhdInfo> {
  throwIfAborted(options.signal, 'creating the disk');
  const format = formatOf(path, options.format);
  const type = options.type ?? (options.parentPath === undefined ? 'dynamic' : 'differencing');
  if (type === 'differencing') createDifferencing(path, format, options);
  else if (options.parentPath !== undefined) {
    throw new HvError('invalid-argument', `a ${type} disk has no parent`, { detail: { path } });
  } else if (format === 'raw') createRaw(path, type, options.sizeBytes);
  else createPlain(path, type, options);
  if (options.signal?.aborted) unlinkSync(path);
  throwIfAborted(options.signal, 'creating the disk');
  options.onProgress?.({ phase: 'create', done: 1, total: 1 });
  return vhdInfo(path, { ...(options.format === undefined ? {} : { format: options.format }) });
}

/**
 * Says what `createVhd` would refuse about a plain disk's path, type and sizes, without making anything.
 * @throws HvError `invalid-argument`, `unsupported`
 */
export function checkNewVhd(path: string, options: CreateVhdOptions): void {
  const type = options.type ?? 'dynamic';
  if (formatOf(path, options.format) === 'vhdx' && type !== 'differencing') validateNewVhdx(plainSpec(type, options));
}

function createPlain(path: string, type: 'dynamic' | 'fixed', options: CreateVhdOptions): void {
  const { store } = createImageFile(path, plainSpec(type, options));
  store.close();
}

function plainSpec(type: 'dynamic' | 'fixed', options: CreateVhdOptions): NewVhdx {
  return {
    type,
    virtualSizeBytes: mustHaveSize(options.sizeBytes),
    blockSizeBytes: options.blockSizeBytes,
    logicalSectorSizeBytes: options.logicalSectorSizeBytes,
    physicalSectorSizeBytes: options.physicalSectorSizeBytes,
  };
}

function createRaw(path: string, type: 'dynamic' | 'fixed', sizeBytes: number | undefined): void {
  const size = mustHaveSize(sizeBytes);
  if (!Number.isSafeInteger(size) || size <= 0 || size % 512 !== 0) {
    throw new HvError(
      'invalid-argument',
      `the size of a disk must be a positive multiple of 512 bytes; ${size} is not`,
    );
  }
  const { store } = createFile(path, (file) => {
    file.setSize(size);
    if (type === 'fixed') file.allocate(0, size);
  });
  store.close();
}

function createDifferencing(path: string, format: DiskFormat, options: CreateVhdOptions): void {
  const { parentPath } = options;
  if (parentPath === undefined)
    throw new HvError('invalid-argument', 'a differencing disk needs the path of its parent');
  if (format !== 'vhdx' || formatOf(parentPath) !== 'vhdx') {
    throw new HvError('unsupported', 'a differencing disk and its parent must both be VHDX files', {
      detail: { path, parentPath },
    });
  }
  const layers = openVhdxChain(parentPath, { readOnly: true, allowParents: options.allowParents ?? [] });
  try {
    const parent = layers[0];
    if (!parent) return;
    const { metadata, header } = parent.image;
    const logical = options.logicalSectorSizeBytes ?? metadata.logicalSectorSizeBytes;
    if (logical !== metadata.logicalSectorSizeBytes) {
      throw new HvError(
        'invalid-argument',
        `a differencing disk has its parent's sector size, ${metadata.logicalSectorSizeBytes}`,
      );
    }
    const size = options.sizeBytes ?? metadata.virtualSizeBytes;
    if (size < metadata.virtualSizeBytes) {
      throw new HvError(
        'invalid-argument',
        `a differencing disk cannot be smaller than its parent (${metadata.virtualSizeBytes} bytes)`,
      );
    }
    const target = resolveNew(path);
    const { store } = createImageFile(target, {
      type: 'differencing',
      virtualSizeBytes: size,
      blockSizeBytes: options.blockSizeBytes,
      logicalSectorSizeBytes: logical,
      physicalSectorSizeBytes: options.physicalSectorSizeBytes ?? metadata.physicalSectorSizeBytes,
      virtualDiskId: metadata.virtualDiskId,
      locator: locatorPairs(header.dataWriteGuid, ZERO_GUID, locatorPaths(target, parent.path)),
      inheritedItems: inheritableItems(parent.image),
    });
    store.close();
  } finally {
    closeQuietly(layers);
  }
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

/**
 * Tells what a disk file is. Opens no parent; works while the disk is in use.
 * @throws HvError `not-found`, `permission-denied`, `corrupt`, `unsupported`, `invalid-argument`, `io`
 */
export async function vhdInfo(
  path: string,
  options: { readonly format?: DiskFormat | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<VhdInfo> {
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
    const { locator } = metadata;
    const found = locator
      ? parentCandidates(file.path, locator)
          .map(realOrUndefined)
          .find((real) => real !== undefined)
      : undefined;
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
      parentPath: found ?? locator?.absolutePath ?? locator?.relativePath ?? null,
      parentFound: found !== undefined,
      inUse,
    };
  } finally {
    file.store.close();
  }
}

/** The format of a path: said, or by its ending. @throws HvError `unsupported` */
export function formatOf(path: string, said?: DiskFormat): DiskFormat {
  if (said !== undefined) return said;
  const ending = extname(path).toLowerCase();
  const format = FORMAT_BY_ENDING[ending];
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

function mustHaveSize(sizeBytes: number | undefined): number {
  if (sizeBytes === undefined) throw new HvError('invalid-argument', 'a new disk needs a size');
  return sizeBytes;
}
