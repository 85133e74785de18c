import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { copyFile, link, open, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type OnProgress, throwIfAborted } from '../../async/index.ts';
import { fromSystemError, HvError, isSystemError } from '../../errors/index.ts';

/**
 * Copies a file to a place where none is yet; it appears there whole or not at all, also after a power cut.
 * @throws HvError `already-exists`, `no-space`, `permission-denied`, `aborted`
 */
export async function placeCopy(
  source: string,
  target: string,
  onProgress: OnProgress,
  signal: AbortSignal | undefined,
): Promise<void> {
  const partial = join(dirname(target), `.hv-${randomUUID()}.partial`);
  try {
    throwIfAborted(signal, 'building the template');
    const total = (await stat(source)).size;
    onProgress({ phase: 'copy', done: 0, total });
    // A clone where the file system can, else a copy inside the kernel; 60 MB either way.
    await copyFile(source, partial, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    const file = await open(partial, 'r+');
    try {
      await file.sync();
    } finally {
      await file.close();
    }
    throwIfAborted(signal, 'building the template');
    await giveName(partial, target);
    onProgress({ phase: 'copy', done: total, total });
  } catch (error) {
    throw fromSystemError(error, `could not write ${target}`, { path: target });
  } finally {
    await rm(partial, { force: true });
  }
}

/** A link refuses to replace what is there, which renaming does not. */
async function giveName(partial: string, target: string): Promise<void> {
  try {
    await link(partial, target);
  } catch (error) {
    if (isSystemError(error, 'EEXIST')) {
      throw new HvError('already-exists', `${target} exists already`, { detail: { path: target } });
    }
    if (!isSystemError(error, 'EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS')) throw error;
    // File systems without hard links (FAT, some network shares).
    await rename(partial, target);
  }
}
