import { closeSync, constants, fstatSync, openSync, realpathSync } from 'node:fs';
import { fromSystemError, HvError, isSystemError } from '../errors/index.ts';
import { type ByteStore, FileStore } from '../store/index.ts';
import { bootId, type DiskImageLock, lockDiskImage } from '../system/index.ts';

/** An image file that is open, locked, and known to be a regular file. */
export interface OpenFile {
  readonly store: FileStore;
  /** Absolute, without links. */
  readonly path: string;
  /** Tells files apart whatever their paths: device and inode. */
  readonly identity: string;
  /** Where the descriptor allows writing, whether that is wanted now or later. */
  readonly writeAccess?: WriteAccess | undefined;
}

/** The right to write to an open file: taken when it is needed, given back while it is only read. */
export interface WriteAccess {
  /**
   * @returns a store for writing over the same descriptor; the one before it is dropped without being closed
   * @throws HvError `in-use`, `io`
   */
  take(): ByteStore;
  /** The file is read again among other readers; the store for writing must not be used any more. */
  giveBack(): void;
}

export interface OpenFileOptions {
  /** `later`: read among other readers, until `writeAccess` is taken; only read where the system allows no more. */
  readonly access: 'read' | 'write' | 'later';
  /** Default true. Without a lock the file may change while it is read: for looking only. */
  readonly lock?: boolean;
}

const READ_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW | constants.O_NOCTTY;
const WRITE_FLAGS = constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOFOLLOW | constants.O_NOCTTY;

/**
 * Opens an image file. A pipe or a device in its place is refused without waiting for it.
 * @throws HvError `not-found`, `permission-denied`, `in-use`, `invalid-argument` (not a regular file), `io`
 */
export function openImageFile(path: string, options: OpenFileOptions): OpenFile {
  let real: string;
  let fd: number;
  let isReadOnly = options.access === 'read';
  try {
    real = realpathSync(path);
    try {
      fd = openSync(real, isReadOnly ? READ_FLAGS : WRITE_FLAGS);
    } catch (error) {
      if (options.access !== 'later' || !isSystemError(error, 'EACCES', 'EPERM', 'EROFS', 'ETXTBSY')) throw error;
      isReadOnly = true;
      fd = openSync(real, READ_FLAGS);
    }
  } catch (error) {
    throw fromSystemError(error, `could not open ${path}`, { path });
  }
  try {
    const stat = fstatSync(fd, { bigint: true });
    if (!stat.isFile()) throw new HvError('invalid-argument', `${path} is not a regular file`, { detail: { path } });
    const isWritten = options.access === 'write';
    const lock = options.lock === false ? undefined : lockDiskImage(fd, isWritten ? 'write' : 'read', real);
    const identity = `${stat.dev}:${stat.ino}`;
    const store = lockedStore(fd, real, lock, !isWritten);
    return { store, path: real, identity, ...(isReadOnly ? {} : { writeAccess: writeAccessTo(fd, real, lock) }) };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** A store that gives its lock back when it is closed. */
export function lockedStore(fd: number, path: string, lock: DiskImageLock | undefined, readOnly: boolean): FileStore {
  return new FileStore(fd, path, { readOnly, ...(lock ? { onClose: () => lock.release() } : {}) });
}

export function writeAccessTo(fd: number, path: string, lock: DiskImageLock | undefined): WriteAccess {
  return {
    take: () => {
      lock?.toWriter();
      return lockedStore(fd, path, lock, false);
    },
    giveBack: () => lock?.toReader(),
  };
}

/** This run of the host as a GUID, or undefined where the system does not tell. */
export function hostRun(): string | undefined {
  try {
    return bootId();
  } catch {
    return undefined; // No /proc: then entries are written so that they need no such knowledge.
  }
}
