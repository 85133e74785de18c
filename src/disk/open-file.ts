import { closeSync, constants, fstatSync, openSync, realpathSync } from 'node:fs';
import { fromSystemError, HvError } from '../errors/index.ts';
import { FileStore } from '../store/index.ts';
import { bootId, lockDiskImage } from '../system/index.ts';

/** An image file that is open, locked, and known to be a regular file. */
export interface OpenFile {
  readonly store: FileStore;
  /** Absolute, without links. */
  readonly path: string;
  /** Tells files apart whatever their paths: device and inode. */
  readonly identity: string;
}

export interface OpenFileOptions {
  readonly access: 'read' | 'write';
  /** Default true. Without a lock the file may change while it is read: for looking only. */
  readonly lock?: boolean;
}

/**
 * Opens an image file. A pipe or a device in its place is refused without waiting for it.
 * @throws HvError `not-found`, `permission-denied`, `in-use`, `invalid-argument` (not a regular file), `io`
 */
export function openImageFile(path: string, options: OpenFileOptions): OpenFile {
  let real: string;
  let fd: number;
  try {
    real = realpathSync(path);
    const mode = options.access === 'write' ? constants.O_RDWR : constants.O_RDONLY;
    fd = openSync(real, mode | constants.O_NONBLOCK | constants.O_NOFOLLOW | constants.O_NOCTTY);
  } catch (error) {
    throw fromSystemError(error, `could not open ${path}`, { path });
  }
  try {
    const stat = fstatSync(fd, { bigint: true });
    if (!stat.isFile()) throw new HvError('invalid-argument', `${path} is not a regular file`, { detail: { path } });
    const lock = options.lock === false ? undefined : lockDiskImage(fd, options.access, real);
    const store = new FileStore(fd, real, {
      readOnly: options.access === 'read',
      ...(lock ? { onClose: () => lock.release() } : {}),
    });
    return { store, path: real, identity: `${stat.dev}:${stat.ino}` };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** This run of the host as a GUID, or undefined where the system does not tell. */
export function hostRun(): string | undefined {
  try {
    return bootId();
  } catch {
    return undefined; // No /proc: then entries are written so that they need no such knowledge.
  }
}
