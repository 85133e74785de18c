import { lstatSync, realpathSync, statfsSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { LongOptions } from '../../async/index.ts';
import { parseGuid, roundUp } from '../../binary/index.ts';
import { fromSystemError, HvError } from '../../errors/index.ts';
import type { DiskType } from '../../formats/disk-image.ts';
import { VHD_SECTOR_BYTES } from '../../formats/vhd/index.ts';
import type { FileStore } from '../../store/index.ts';
import { type ForeignFormat, type ImageFormat, isForeign } from '../image-format.ts';
import { dataRuns } from './data-runs.ts';
import type { DiskSource } from './disk-source.ts';

/** As much as a VHDX can have: every disk of hv's own formats fits. */
const MAX_FOREIGN_BYTES = 64 * 2 ** 40;

export interface ConvertOptions extends LongOptions {
  /** The target's format. Default: what its name's ending says. */
  readonly format?: ImageFormat | undefined;
  /** The source's format. Default: what its name's ending says; never guessed from what is in it. */
  readonly sourceFormat?: ImageFormat | undefined;
  /** Default: `differencing` with a parent, else `dynamic`. */
  readonly type?: DiskType | undefined;
  /** For a differencing target, which then holds only what differs from it. */
  readonly parentPath?: string | undefined;
  /** At least the source's size, which is the default; what is added reads as zero. */
  readonly sizeBytes?: number | undefined;
  readonly blockSizeBytes?: number | undefined;
  /** Default: the source's. Partition tables count in logical sectors: another size makes those on the disk unreadable. */
  readonly logicalSectorSizeBytes?: number | undefined;
  /** Default: the source's. */
  readonly physicalSectorSizeBytes?: number | undefined;
  /** The copy's own id: a new one (default), the source's, or one given as a GUID. */
  readonly virtualDiskId?: 'new' | 'keep' | (string & {}) | undefined;
  /** Where parents may lie beside their children's own folders. */
  readonly allowParents?: readonly string[] | undefined;
  /** Check everything that can be checked, make nothing, and answer what would be made. */
  readonly dryRun?: boolean | undefined;
}

/** What was copied, as plain data. */
export interface ConvertResult {
  readonly sourcePath: string;
  readonly sourceFormat: ImageFormat;
  readonly path: string;
  readonly format: ImageFormat;
  readonly type: DiskType | 'raw';
  readonly virtualSizeBytes: number;
  readonly logicalSectorSizeBytes: number;
  readonly physicalSectorSizeBytes: number;
  /** The target's length, and the space that it takes. Zero in a dry run. */
  readonly fileSizeBytes: number;
  readonly allocatedBytes: number;
  /** Bytes of the disk that were data and were written. */
  readonly copiedBytes: number;
}

/** The file that a conversion makes. */
export interface Target {
  /** Absolute, without links. */
  readonly path: string;
  readonly format: ImageFormat;
  readonly type: DiskType;
}

/** The path that a new file will have, without links. @throws HvError `already-exists`, `not-found` */
export function newPath(path: string): string {
  let real: string;
  try {
    real = join(realpathSync(dirname(path)), basename(path));
  } catch (error) {
    throw fromSystemError(error, `could not create ${path}`, { path });
  }
  if (lstatSync(real, { throwIfNoEntry: false }) === undefined) return real;
  throw new HvError('already-exists', `could not create ${real}: it exists already`, { detail: { path: real } });
}

/** Refuses what no target of its format can be. @throws HvError `invalid-argument`, `unsupported` */
export function checkTarget({ path, format, type }: Target, options: ConvertOptions): void {
  const refuse = (what: string): never => {
    throw new HvError('invalid-argument', what, { detail: { path, format, type } });
  };
  if (type === 'differencing' && options.parentPath === undefined) {
    refuse('a differencing disk needs the path of its parent');
  }
  if (type !== 'differencing' && options.parentPath !== undefined) refuse(`a ${type} disk has no parent`);
  if (isForeign(format) && type !== 'dynamic') {
    throw new HvError('unsupported', `hv makes ${format} files that grow as they are written, and no others`, {
      detail: { path, format, type },
    });
  }
  if (format === 'raw' && type === 'differencing') {
    throw new HvError('unsupported', 'a raw file cannot have a parent', { detail: { path, format, type } });
  }
  if ((isForeign(format) || format === 'raw') && options.blockSizeBytes !== undefined) {
    refuse(`a ${format} file has no block size to choose`);
  }
}

/** The size of the target. @throws HvError `invalid-argument` when it cannot hold the source */
export function sizeFor(source: DiskSource, unit: number, options: ConvertOptions): number {
  const { sizeBytes } = options;
  if (sizeBytes === undefined) return roundUp(source.sizeBytes, unit);
  if (sizeBytes >= source.sizeBytes) return sizeBytes;
  throw new HvError(
    'invalid-argument',
    `the copy cannot be smaller than the disk ${source.path} (${source.sizeBytes} bytes)`,
    { detail: { path: source.path, sizeBytes, neededBytes: source.sizeBytes } },
  );
}

/** A VHD's sectors are of 512 bytes. @throws HvError `unsupported` where the source's are not, and nobody said so; `invalid-argument` */
export function mustHaveVhdSectors(source: DiskSource, options: ConvertOptions): void {
  const asked = [options.logicalSectorSizeBytes, options.physicalSectorSizeBytes];
  if (asked.some((size) => size !== undefined && size !== VHD_SECTOR_BYTES)) {
    throw new HvError('invalid-argument', `the sectors of a VHD are of ${VHD_SECTOR_BYTES} bytes`, {
      hint: 'Use VHDX.',
    });
  }
  if (source.logicalSectorSizeBytes === VHD_SECTOR_BYTES || options.logicalSectorSizeBytes !== undefined) return;
  throw new HvError(
    'unsupported',
    `${source.path} has sectors of ${source.logicalSectorSizeBytes} bytes, a VHD cannot: partitions would not be found`,
    {
      detail: { path: source.path, logicalSectorSizeBytes: source.logicalSectorSizeBytes },
      hint: 'Use VHDX, or --logical-sector-size 512 if there are no partitions on it.',
    },
  );
}

/** @throws HvError `invalid-argument` */
export function mustBeForeignSize(format: ForeignFormat, sizeBytes: number): void {
  if (sizeBytes > 0 && sizeBytes <= MAX_FOREIGN_BYTES && sizeBytes % 512 === 0) return;
  throw new HvError(
    'invalid-argument',
    `the size of a ${format} disk must be a multiple of 512 bytes, up to 64 TiB; ${sizeBytes} is not`,
    { detail: { format, sizeBytes } },
  );
}

/** The id of the target; undefined for a new one. @throws HvError `invalid-argument` */
export function idFor(source: DiskSource, { virtualDiskId = 'new' }: ConvertOptions): string | undefined {
  if (virtualDiskId === 'new') return undefined;
  if (virtualDiskId !== 'keep') return parseGuid(virtualDiskId);
  if (source.virtualDiskId !== undefined) return source.virtualDiskId;
  throw new HvError('invalid-argument', `${source.path} has no id to keep`, {
    detail: { path: source.path, format: source.format },
  });
}

export interface RoomNeeded {
  /** Known from the start. Default: as much as the source has data. */
  readonly totalBytes?: number;
}

/** What cannot fit is said before anything is made, where it can be known. @throws HvError `no-space` */
export function mustHaveRoom(source: DiskSource, path: string, needed: RoomNeeded): void {
  const freeBytes = freeBytesAt(path);
  if (freeBytes === undefined) return;
  const { totalBytes } = needed;
  // The space of the source's files is known at once; only where that might not fit its data is counted.
  if (totalBytes === undefined && !isForeign(source.format) && allocatedBytes(source) <= freeBytes) return;
  const neededBytes = totalBytes ?? dataBytes(source);
  if (neededBytes <= freeBytes) return;
  throw new HvError('no-space', `${path} needs ${neededBytes} bytes; ${freeBytes} are free there`, {
    detail: { path, neededBytes, freeBytes },
    hint: 'Choose another folder, or make room in this one.',
  });
}

/** Some file systems do not count their blocks: the writes themselves are the judge there. */
function freeBytesAt(path: string): number | undefined {
  try {
    const { blocks, bavail, bsize } = statfsSync(dirname(path));
    return blocks === 0 ? undefined : bavail * bsize;
  } catch (error) {
    throw fromSystemError(error, `could not look for room for ${path}`, { path });
  }
}

function allocatedBytes(source: DiskSource): number {
  return source.files.reduce((sum, { path }) => sum + statSync(path).blocks * 512, 0);
}

function dataBytes(source: DiskSource): number {
  let sum = 0;
  for (const { length } of dataRuns(source, 0, source.sizeBytes)) sum += length;
  return sum;
}

/** What the target is like. */
export interface Made {
  readonly virtualSizeBytes: number;
  readonly logicalSectorSizeBytes?: number | undefined;
  readonly physicalSectorSizeBytes?: number | undefined;
}

/** @param store the target's file; undefined where nothing was made */
export function resultOf(
  source: DiskSource,
  { path, format, type }: Target,
  made: Made,
  store: FileStore | undefined,
  copiedBytes: number,
): ConvertResult {
  return {
    sourcePath: source.path,
    sourceFormat: source.format,
    path,
    format,
    type: format === 'raw' ? 'raw' : type,
    virtualSizeBytes: made.virtualSizeBytes,
    logicalSectorSizeBytes: made.logicalSectorSizeBytes ?? 512,
    physicalSectorSizeBytes: made.physicalSectorSizeBytes ?? (format === 'vhd' ? VHD_SECTOR_BYTES : 4096),
    fileSizeBytes: store?.size() ?? 0,
    allocatedBytes: store?.allocatedBytes() ?? 0,
    copiedBytes,
  };
}
