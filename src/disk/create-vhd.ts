import { lstatSync, realpathSync, statfsSync, unlinkSync } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';
import { type LongOptions, throwIfAborted } from '../async/index.ts';
import { parseGuid } from '../binary/index.ts';
import { fromSystemError, HvError, invariant } from '../errors/index.ts';
import type { DiskType } from '../formats/disk-image.ts';
import { NEW_VHD_FILE, VHD_SECTOR_BYTES } from '../formats/vhd/index.ts';
import { defaultBlockSize } from '../formats/vhdx/index.ts';
import { TRACKING_OFF } from './chain-changes.ts';
import { childOf } from './child-file.ts';
import { convertVhd } from './convert.ts';
import { checkedImage, createImageFile, type NewImage } from './create-file.ts';

import { type DiskFormat, formatOf } from './disk-format.ts';

import type { ImageFormat } from './image-format.ts';

import { closeQuietly, MAX_CHAIN_DEPTH, openImageChain } from './open-chain.ts';
import { storageOf, type VhdInfo, vhdInfo } from './vhd-info.ts';

export interface CreateVhdOptions extends LongOptions {
  /** Default: the parent's size for a differencing disk. */
  readonly sizeBytes?: number | undefined;
  /** Default: `differencing` with a parent, else `dynamic`. */
  readonly type?: DiskType | undefined;
  readonly parentPath?: string | undefined;
  /** Default as Windows: VHDX 32 MiB dynamic, 2 MiB fixed and differencing; VHD 2 MiB (or 512 KiB), fixed none. */
  readonly blockSizeBytes?: number | undefined;
  /** 512 (default) or 4096; a differencing disk has its parent's. */
  readonly logicalSectorSizeBytes?: number | undefined;
  /** 4096 (default) or 512; a differencing disk has its parent's unless it says otherwise. */
  readonly physicalSectorSizeBytes?: number | undefined;
  readonly format?: DiskFormat | undefined;
  /** A disk whose contents the new one starts with; a differencing disk holds what differs from its parent. */
  readonly sourcePath?: string | undefined;
  /** Default: what the name's ending says. */
  readonly sourceFormat?: ImageFormat | undefined;
  /** The disk's id: a new one (default), or one given as a GUID; with a source also the source's. A child has its parent's. */
  readonly virtualDiskId?: 'new' | 'keep' | (string & {}) | undefined;
  /** Where parents of the parent may lie, beside their children's own folders. */
  readonly allowParents?: readonly string[] | undefined;
  /** Check everything that can be checked, make nothing, and answer what would be made. */
  readonly dryRun?: boolean | undefined;
}

/**
 * Makes a new disk file, empty or with the contents of another. Never replaces a file, and leaves nothing behind when it fails.
 * @throws HvError `already-exists`, `invalid-argument`, `not-found`, `permission-denied`, `in-use` (the parent), `no-space`, `unsupported`, `io`, `aborted`
 */
export async function createVhd(path: string, options: CreateVhdOptions): Promise<VhdInfo> {
  throwIfAborted(options.signal, 'creating the disk');
  const format = formatOf(path, options.format);
  if (options.sourcePath !== undefined) return createFromSource(path, { ...options, sourcePath: options.sourcePath });
  const type = options.type ?? (options.parentPath === undefined ? 'dynamic' : 'differencing');
  if (type !== 'differencing' && options.parentPath !== undefined) {
    throw new HvError('invalid-argument', `a ${type} disk has no parent`, { detail: { path } });
  }
  if (givenId(options) !== undefined && (type === 'differencing' || format === 'raw')) {
    const why = format === 'raw' ? 'a raw disk has no id' : "a differencing disk has its parent's id";
    throw new HvError('invalid-argument', why, { detail: { path, virtualDiskId: options.virtualDiskId ?? null } });
  }
  const target = resolveNew(path);
  const plan = type === 'differencing' ? planChild(target, format, options) : planDisk(type, format, options);
  mustBeFree(target);
  if (type === 'fixed') mustHaveRoom(target, plan.spec.virtualSizeBytes);
  if (options.dryRun === true) return plannedInfo(target, plan);
  const { store } = createImageFile(target, plan);
  store.close();
  if (options.signal?.aborted) unlinkSync(target);
  throwIfAborted(options.signal, 'creating the disk');
  options.onProgress?.({ phase: 'create', done: 1, total: 1 });
  return vhdInfo(target, { format });
}

async function createFromSource(
  path: string,
  options: CreateVhdOptions & { readonly sourcePath: string },
): Promise<VhdInfo> {
  const made = await convertVhd(options.sourcePath, path, options);
  if (options.dryRun !== true) {
    return vhdInfo(made.path, { format: options.format, allowParents: options.allowParents });
  }
  const format = formatOf(path, options.format);
  const like = {
    ...options,
    virtualDiskId: 'new',
    sizeBytes: made.virtualSizeBytes,
    logicalSectorSizeBytes: made.logicalSectorSizeBytes,
    physicalSectorSizeBytes: made.physicalSectorSizeBytes,
  };
  if (made.type === 'differencing') return plannedInfo(made.path, planChild(made.path, format, like));
  return plannedInfo(made.path, planDisk(made.type === 'fixed' ? 'fixed' : 'dynamic', format, like));
}

/** The id of a disk without a source. @throws HvError `invalid-argument` */
function givenId({ virtualDiskId = 'new' }: CreateVhdOptions): string | undefined {
  if (virtualDiskId === 'keep') throw new HvError('invalid-argument', 'an empty disk has no id to keep');
  return virtualDiskId === 'new' ? undefined : parseGuid(virtualDiskId);
}

function planDisk(type: 'dynamic' | 'fixed', format: DiskFormat, options: CreateVhdOptions): NewImage {
  const { sizeBytes } = options;
  if (sizeBytes === undefined) throw new HvError('invalid-argument', 'a new disk needs a size');
  if (format === 'raw') return checkedImage({ format, spec: { type, virtualSizeBytes: sizeBytes } });
  if (format === 'vhd') {
    mustBeSectorOfVhd(options);
    return checkedImage({
      format,
      spec: { type, virtualSizeBytes: sizeBytes, blockSizeBytes: options.blockSizeBytes, uniqueId: givenId(options) },
    });
  }
  return checkedImage({
    format,
    spec: {
      type,
      virtualSizeBytes: sizeBytes,
      blockSizeBytes: options.blockSizeBytes,
      logicalSectorSizeBytes: options.logicalSectorSizeBytes,
      physicalSectorSizeBytes: options.physicalSectorSizeBytes,
      virtualDiskId: givenId(options),
    },
  });
}

/** A VHD's sectors are of 512 bytes, and no field says so. */
function mustBeSectorOfVhd({ logicalSectorSizeBytes, physicalSectorSizeBytes }: CreateVhdOptions): void {
  const other = [logicalSectorSizeBytes, physicalSectorSizeBytes].find(
    (size) => size !== undefined && size !== VHD_SECTOR_BYTES,
  );
  if (other === undefined) return;
  throw new HvError(
    'invalid-argument',
    `the sectors of a VHD are of ${VHD_SECTOR_BYTES} bytes; ${other} is not possible`,
    {
      detail: { value: other },
      hint: 'Use VHDX.',
    },
  );
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

function planChild(target: string, format: DiskFormat, options: CreateVhdOptions): NewImage {
  const { parentPath } = options;
  if (parentPath === undefined)
    throw new HvError('invalid-argument', 'a differencing disk needs the path of its parent');
  if (format === 'raw' || formatOf(parentPath) !== format) {
    throw new HvError('unsupported', 'a differencing disk and its parent must both be VHDX files, or both VHD', {
      detail: { path: target, parentPath },
    });
  }
  if (format === 'vhd') mustBeSectorOfVhd(options);
  const layers = openImageChain(parentPath, { format, readOnly: true, allowParents: options.allowParents ?? [] });
  try {
    const parent = layers[0];
    invariant(parent, 'an open chain has a leaf');
    if (layers.length >= MAX_CHAIN_DEPTH) {
      throw new HvError('unsupported', `${parent.path} is the end of a chain that is as deep as one may be`, {
        detail: { path: target, parentPath: parent.path, maxDepth: MAX_CHAIN_DEPTH },
        hint: `A chain has at most ${MAX_CHAIN_DEPTH} files. Make the disk on one of the parents, or copy the whole.`,
      });
    }
    const { image } = parent;
    const logical = options.logicalSectorSizeBytes ?? image.logicalSectorSizeBytes;
    if (logical !== image.logicalSectorSizeBytes) {
      throw new HvError(
        'invalid-argument',
        `a differencing disk has its parent's sector size, ${image.logicalSectorSizeBytes} bytes`,
      );
    }
    const size = options.sizeBytes ?? image.sizeBytes;
    if (size < image.sizeBytes) {
      throw new HvError(
        'invalid-argument',
        `a differencing disk cannot be smaller than its parent (${image.sizeBytes} bytes)`,
      );
    }
    return checkedImage(childOf(target, parent, options));
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

function plannedInfo(path: string, plan: NewImage): VhdInfo {
  const base = {
    path,
    virtualSizeBytes: plan.spec.virtualSizeBytes,
    fileSizeBytes: 0,
    allocatedBytes: 0,
    identifier: null,
    dataWriteGuid: null,
    virtualDiskId: null,
    parentLocations: [],
    parentIdentifier: null,
    parentTimestamp: null,
    fragmentationPercent: null,
    isLoaded: false,
    changeTracking: TRACKING_OFF,
    smallestSafeSizeBytes: null,
    inUse: false,
    unfinishedMergeInto: null,
    ...storageOf(plan.format, plan.format === 'raw' ? 'raw' : plan.spec.type),
  };
  if (plan.format === 'vhd') {
    const { type, blockSizeBytes = NEW_VHD_FILE.blockSize, parent } = plan.spec;
    return {
      ...base,
      format: 'vhd',
      type,
      blockSizeBytes: type === 'fixed' ? null : blockSizeBytes,
      logicalSectorSizeBytes: VHD_SECTOR_BYTES,
      physicalSectorSizeBytes: VHD_SECTOR_BYTES,
      parentPath: parent?.paths.absolutePath?.replaceAll('\\', sep) ?? null,
      parentFound: parent !== undefined,
    };
  }
  if (plan.format === 'raw') {
    const geometry = { blockSizeBytes: null, logicalSectorSizeBytes: 512, physicalSectorSizeBytes: 4096 };
    return { ...base, format: 'raw', type: 'raw', ...geometry, parentPath: null, parentFound: false };
  }
  const { spec } = plan;
  return {
    ...base,
    format: plan.format,
    type: spec.type,
    blockSizeBytes: spec.blockSizeBytes ?? defaultBlockSize(spec.type),
    logicalSectorSizeBytes: spec.logicalSectorSizeBytes ?? 512,
    physicalSectorSizeBytes: spec.physicalSectorSizeBytes ?? 4096,
    parentPath: spec.locator?.find(([key]) => key === 'absolute_win32_path')?.[1].replaceAll('\\', sep) ?? null,
    parentFound: spec.locator !== undefined,
  };
}

/** The path that a new file will have, without links. */
function resolveNew(path: string): string {
  try {
    return join(realpathSync(dirname(path)), basename(path));
  } catch (error) {
    throw fromSystemError(error, `could not create ${path}`, { path });
  }
}
