import { closeSync, constants, openSync } from 'node:fs';
import { isSystemError } from '../errors/index.ts';
import { AT_FDCWD, AT_SYMLINK_FOLLOW, ERRNO, nativeError, nativeLibc, O_TMPFILE } from '../native/index.ts';

/**
 * Files that have no name until they are whole (open(2), O_TMPFILE): whatever ends the process before, nothing of them
 * is left in their folder.
 */

/**
 * Opens a new file without a name in a folder, for reading and writing.
 * @returns undefined where that is impossible (no FFI, a file system without it): the caller takes a temporary name
 * @throws the system's own error where the folder is not there or may not be written to
 */
export function openUnnamedFile(folder: string, mode: number): number | undefined {
  if (!nativeLibc()) return undefined;
  let fd: number;
  try {
    fd = openSync(folder, O_TMPFILE | constants.O_DIRECTORY | constants.O_RDWR, mode);
  } catch (error) {
    // Old kernels and some file systems take the flag for an attempt to write to a folder.
    if (isSystemError(error, 'EOPNOTSUPP', 'EISDIR', 'EINVAL', 'ENOSYS')) return undefined;
    throw error;
  }
  if (canBeNamed(fd)) return fd;
  closeSync(fd);
  return undefined;
}

/** Names are given through /proc, which a process may not have. */
function canBeNamed(fd: number): boolean {
  try {
    closeSync(openSync(`/proc/self/fd/${fd}`, constants.O_RDONLY));
    return true;
  } catch {
    return false;
  }
}

/**
 * Gives a file without a name its first one; a name that is taken stays whose it is.
 * @throws HvError `already-exists`, `permission-denied`, `no-space`, `io`
 */
export function nameUnnamedFile(fd: number, path: string): void {
  const result =
    nativeLibc()?.linkat(AT_FDCWD, `/proc/self/fd/${fd}`, AT_FDCWD, path, AT_SYMLINK_FOLLOW) ?? -ERRNO.ENOSYS;
  if (result < 0) throw nativeError('linkat', -result, `could not create ${path}`, { path });
}
