import { basename, dirname } from 'node:path';
import { throwIfAborted } from '../async/index.ts';
import { checkedImage } from './create-file.ts';
import { imageFormatOf, isForeign } from './image-format.ts';
import { failureOf, NewFile } from './new-file.ts';
import { type BulkImage, startImage } from './transfer/bulk-image.ts';
import {
  type ConvertOptions,
  type ConvertResult,
  checkTarget,
  idFor,
  mustBeForeignSize,
  mustHaveRoom,
  mustHaveVhdSectors,
  newPath,
  resultOf,
  sizeFor,
  type Target,
} from './transfer/conversion.ts';
import { copyData } from './transfer/copy-data.ts';
import { type DiskSource, openSource } from './transfer/disk-source.ts';

export type { ConvertOptions, ConvertResult } from './transfer/conversion.ts';

/**
 * Copies a disk, with everything that it has from its parents, into a new file of any format and type. Zeros take no
 * space in it. The target is whole and durable under its name, or not there at all; a file is never replaced. An abort
 * or a failure leaves nothing behind; the source is locked against writers meanwhile.
 *
 * qcow2, vmdk and vdi are read through qemu-img. Those that name other files (backing files, data files, extents) are refused.
 * @throws HvError `already-exists`, `not-found`, `in-use`, `corrupt`, `parent-changed`, `unsupported`, `invalid-argument`,
 *   `missing-dependency` and `process-failed` (qemu-img, for those three), `no-space`, `permission-denied`, `io`, `aborted`
 */
export async function convertVhd(
  sourcePath: string,
  path: string,
  options: ConvertOptions = {},
): Promise<ConvertResult> {
  throwIfAborted(options.signal, 'copying the disk');
  const format = imageFormatOf(path, options.format);
  const target = newPath(path);
  const type = options.type ?? (options.parentPath === undefined ? 'dynamic' : 'differencing');
  checkTarget({ path: target, format, type }, options);
  const source = await openSource(sourcePath, {
    format: options.sourceFormat,
    allowParents: options.allowParents,
    workFolder: dirname(target),
    isRead: options.dryRun !== true,
    signal: options.signal,
    onProgress: options.onProgress,
  });
  try {
    return await convertSource(source, { path: target, format, type }, options);
  } finally {
    source.close();
  }
}

async function convertSource(source: DiskSource, target: Target, options: ConvertOptions): Promise<ConvertResult> {
  const { path, format, type } = target;
  if (type === 'differencing') {
    const { convertToChild } = await import('./transfer/convert-to-child.ts');
    return convertToChild(source, target, options);
  }
  const image = plan(source, { path, format, type }, options);
  mustHaveRoom(source, path, type === 'fixed' ? { totalBytes: image.spec.virtualSizeBytes } : {});
  if (options.dryRun === true) return resultOf(source, target, image.spec, undefined, 0);
  const file = new NewFile(path);
  try {
    const bulk = startImage(file.store, image);
    const { writtenBytes } = await copyData(source, bulk, file.store, { ...options, phase: 'copy' });
    bulk.finish();
    await file.store.flush();
    throwIfAborted(options.signal, 'copying the disk');
    const { store } = file.publish();
    try {
      return resultOf(source, target, image.spec, store, writtenBytes);
    } finally {
      store.close();
    }
  } catch (error) {
    file.discard();
    throw failureOf(path, error);
  }
}

/** What the target is to be. @throws HvError `invalid-argument` */
function plan(
  source: DiskSource,
  { path, format, type }: Target & { readonly type: 'fixed' | 'dynamic' },
  options: ConvertOptions,
): BulkImage {
  const logical = options.logicalSectorSizeBytes ?? source.logicalSectorSizeBytes;
  const virtualSizeBytes = sizeFor(source, format === 'vhdx' ? logical : 512, options);
  if (isForeign(format)) {
    mustBeForeignSize(format, virtualSizeBytes);
    return { format, spec: { type: 'dynamic', virtualSizeBytes, fileName: basename(path) } };
  }
  if (format === 'raw') return checkedImage({ format, spec: { type, virtualSizeBytes } });
  if (format === 'vhd') {
    mustHaveVhdSectors(source, options);
    const { blockSizeBytes } = options;
    return checkedImage({ format, spec: { type, virtualSizeBytes, blockSizeBytes, uniqueId: idFor(source, options) } });
  }
  return checkedImage({
    format,
    spec: {
      type,
      virtualSizeBytes,
      blockSizeBytes: options.blockSizeBytes,
      logicalSectorSizeBytes: logical,
      physicalSectorSizeBytes: options.physicalSectorSizeBytes ?? source.physicalSectorSizeBytes,
      virtualDiskId: idFor(source, options),
    },
  });
}
