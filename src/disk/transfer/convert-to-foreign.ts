import { basename, dirname } from 'node:path';
import { type LongOptions, throwIfAborted } from '../../async/index.ts';
import { requireProgram } from '../../system/index.ts';
import type { ForeignFormat } from '../image-format.ts';
import { failureOf, NewFile, namelessFile } from '../new-file.ts';
import { startImage } from './bulk-image.ts';
import { type ConvertOptions, type ConvertResult, mustHaveRoom, resultOf, sizeFor, type Target } from './conversion.ts';
import { copyData } from './copy-data.ts';
import type { DiskSource } from './disk-source.ts';
import { convertImage } from './qemu-img.ts';
import { nameVmdkExtent } from './vmdk-extent.ts';

/** How often the growing target is looked at. */
const LOOK_EVERY_MS = 200;

/** Writes a disk in another program's format: as raw bytes into a temporary file without a name, and qemu-img from there. */
export async function convertToForeign(
  source: DiskSource,
  target: Target & { readonly format: ForeignFormat },
  options: ConvertOptions,
): Promise<ConvertResult> {
  const { path, format } = target;
  const { signal } = options;
  const sizeBytes = sizeFor(source, 512, options);
  const plain = source.sizeBytes === sizeBytes ? source.plainFile : undefined;
  await requireProgram('qemu-img');
  mustHaveRoom(source, path, { copies: plain ? 1 : 2 });
  if (options.dryRun === true) return resultOf(source, target, { virtualSizeBytes: sizeBytes }, undefined, 0);
  const file = new NewFile(path, { lock: false });
  const store = plain ?? namelessFile(dirname(path));
  try {
    let copiedBytes = 0;
    if (!plain) {
      const bulk = startImage(store, { format: 'raw', spec: { type: 'dynamic', virtualSizeBytes: sizeBytes } });
      copiedBytes = (await copyData(source, bulk, store, { ...options, phase: 'copy', isTemporary: true }))
        .writtenBytes;
    }
    const watch = watchGrowth(file, store.allocatedBytes(), options);
    try {
      await convertImage({ store, format: 'raw' }, { store: file.store, format }, signal);
    } finally {
      clearInterval(watch);
    }
    if (format === 'vmdk') nameVmdkExtent(file.store, basename(path));
    await file.store.flush();
    throwIfAborted(signal, 'copying the disk');
    const published = file.publish();
    try {
      return resultOf(
        source,
        target,
        { virtualSizeBytes: sizeBytes },
        published.store,
        plain ? plain.allocatedBytes() : copiedBytes,
      );
    } finally {
      published.store.close();
    }
  } catch (error) {
    file.discard();
    throw failureOf(path, error);
  } finally {
    if (!plain) store.close();
  }
}

/** qemu-img says nothing while it works: how much space its file takes by now shows how far it is. */
function watchGrowth(file: NewFile, totalBytes: number, { onProgress }: LongOptions): NodeJS.Timeout | undefined {
  if (!onProgress) return undefined;
  return setInterval(() => {
    const done = Math.min(totalBytes, file.store.allocatedBytes());
    onProgress({ phase: 'write', done, total: totalBytes });
  }, LOOK_EVERY_MS);
}
