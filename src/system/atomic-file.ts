import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fromSystemError } from '../errors/index.ts';

export interface WriteFileAtomicOptions {
  /** Default 0600. Set as given, whatever the umask. */
  readonly mode?: number;
  /** Gives the file to somebody else (root only). */
  readonly uid?: number;
  readonly gid?: number;
}

/**
 * Writes a whole file so that every reader, also after a power cut, finds the old contents or the new, never a mix:
 * a temporary file in the same folder, fsync, rename, fsync of the folder.
 * @throws HvError `no-space`, `permission-denied`, `not-found` (the folder), `io`; the old file is untouched then
 */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array,
  options: WriteFileAtomicOptions = {},
): Promise<void> {
  const { mode = 0o600, uid, gid } = options;
  // Short whatever the target's name is: file names end at 255 bytes.
  const temporary = join(dirname(path), `.${basename(path).slice(0, 40)}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const file = await open(temporary, flags, 0o600);
    try {
      await writeContents(file, data, mode, uid, gid);
      await rename(temporary, path);
    } catch (error) {
      await unlink(temporary).catch(() => {}); // the first failure is the one to report
      throw error;
    } finally {
      await file.close();
    }
    await syncFolder(dirname(path));
  } catch (error) {
    throw fromSystemError(error, `could not write ${path}`, { path });
  }
}

async function writeContents(
  file: FileHandle,
  data: string | Uint8Array,
  mode: number,
  uid: number | undefined,
  gid: number | undefined,
): Promise<void> {
  await file.writeFile(data);
  if (uid !== undefined || gid !== undefined) await file.chown(uid ?? -1, gid ?? -1);
  await file.chmod(mode);
  await file.sync();
}

/** Makes a folder's entries (a created, renamed or removed file) survive a power cut. */
export async function syncFolder(path: string): Promise<void> {
  try {
    const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  } catch (error) {
    throw fromSystemError(error, `could not flush the folder ${path}`, { path });
  }
}
