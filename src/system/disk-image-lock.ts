import { isHvError } from '../errors/index.ts';
import { ERRNO, errnoSymbol, F_RDLCK, F_UNLCK, F_WRLCK, type Libc, nativeError, nativeLibc } from '../native/index.ts';
import { type FileLock, inUse, lockFile, unlockFile } from './file-lock.ts';

/**
 * QEMU's image locks (its block/file-posix.c; seen with strace on qemu-img, qemu-io and qemu-nbd): one byte for each
 * permission, locked for reading by the open file description. A byte at 100 + n says "I use permission n", a byte at
 * 200 + n says "nobody else may use permission n". After taking its own, a program tests the opposite bytes for an
 * exclusive lock: a foreign byte there is a conflict. Content is never touched, the bytes may lie beyond the end.
 */
const USED_BASE = 100;
const DENIED_BASE = 200;

/** QEMU's permission numbers: consistent read, write, write unchanged, resize. */
const READ = 0;
const WRITE = 1;
const RESIZE = 3;

/** How file systems without locks answer. */
const NO_LOCKS: ReadonlySet<string> = new Set(['EINVAL', 'ENOLCK', 'EOPNOTSUPP', 'ENOSYS']);

export type ImageAccess = 'read' | 'write';

/** A lock on a disk image that its holder may turn into the other kind, without letting go in between. */
export interface DiskImageLock extends FileLock {
  /** One writer from now on. When others read the image, it stays a reader's lock. @throws HvError `in-use`, `io` */
  toWriter(): void;
  /** A reader among others from now on. */
  toReader(): void;
}

/** What QEMU itself takes for an image under a format driver: readers agree with each other, a writer is alone. */
const USES: Readonly<Record<ImageAccess, readonly number[]>> = { read: [READ], write: [READ, WRITE, RESIZE] };
const DENIES: readonly number[] = [WRITE, RESIZE];

/**
 * Keeps other hv processes, QEMU and its tools away from a disk image that is in use here: any number of readers, or
 * one writer. The lock belongs to the open file: it ends with release(), with the last close of `fd`, or with the
 * process. Release it before closing the descriptor.
 *
 * hv's processes meet on flock(2), with and without FFI; QEMU's byte ranges need FFI. A file system that offers no
 * locks leaves the image unlocked, as QEMU does.
 * @throws HvError `in-use` (names the path and, where it can be told, the process), `io`, `missing-dependency`
 */
export function lockDiskImage(fd: number, access: ImageAccess, path: string): DiskImageLock {
  if (!lockWhole(fd, access)) throw inUse(path, fd, ['FLOCK', 'OFDLCK']);
  const libc = nativeLibc();
  try {
    if (libc) lockRanges(libc, fd, access, path);
  } catch (error) {
    if (libc) unlockRanges(libc, fd);
    unlockFile(fd);
    throw error;
  }
  return new ImageLock(path, fd);
}

/**
 * Whether another open file has the image in use, be it for reading only: another hv process, a mount, QEMU or one of its
 * tools. Takes no lock, and disturbs nobody. Without FFI, or where there are no locks, nobody can be seen.
 */
export function isImageUsedElsewhere(fd: number): boolean {
  const libc = nativeLibc();
  if (!libc) return false;
  const result = libc.testRangeLock(fd, F_WRLCK, USED_BASE + READ, 1);
  return result >= 0 && result !== F_UNLCK;
}

function lockWhole(fd: number, access: ImageAccess): boolean {
  try {
    return lockFile(fd, access === 'read' ? 'shared' : 'exclusive');
  } catch (error) {
    if (isHvError(error) && NO_LOCKS.has(String(error.detail.errno))) return true;
    throw error;
  }
}

function lockRanges(libc: Libc, fd: number, access: ImageAccess, path: string): void {
  const used = USES[access];
  for (const byte of [...used.map((n) => USED_BASE + n), ...DENIES.map((n) => DENIED_BASE + n)]) {
    const result = libc.setRangeLock(fd, F_RDLCK, byte, 1);
    if (result < 0 && NO_LOCKS.has(errnoSymbol(-result))) return;
    if (result < 0) throw rangeError(result, fd, path);
  }
  for (const byte of [...used.map((n) => DENIED_BASE + n), ...DENIES.map((n) => USED_BASE + n)]) {
    const result = libc.testRangeLock(fd, F_WRLCK, byte, 1);
    if (result < 0) throw rangeError(result, fd, path);
    if (result !== F_UNLCK) throw inUse(path, fd, ['OFDLCK']);
  }
}

function rangeError(result: number, fd: number, path: string): Error {
  if (result === -ERRNO.EAGAIN || result === -ERRNO.EACCES) return inUse(path, fd, ['OFDLCK']);
  return nativeError('fcntl', -result, `could not lock ${path}`, { path });
}

/** All of both groups at once: unlocking what is not locked is legal. */
function unlockRanges(libc: Libc, fd: number): void {
  libc.setRangeLock(fd, F_UNLCK, USED_BASE, RESIZE + 1);
  libc.setRangeLock(fd, F_UNLCK, DENIED_BASE, RESIZE + 1);
}

class ImageLock implements DiskImageLock {
  readonly path: string;
  readonly #fd: number;
  #held = true;

  constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
  }

  release(): void {
    if (!this.#held) return;
    this.#held = false;
    const libc = nativeLibc();
    if (libc) unlockRanges(libc, this.#fd);
    unlockFile(this.#fd);
  }

  toWriter(): void {
    if (!lockWhole(this.#fd, 'write')) {
      // A conversion that fails has given the old lock up: nobody can have become a writer among other readers.
      lockWhole(this.#fd, 'read');
      throw inUse(this.path, this.#fd, ['FLOCK', 'OFDLCK']);
    }
    const libc = nativeLibc();
    try {
      if (libc) lockRanges(libc, this.#fd, 'write', this.path);
    } catch (error) {
      this.toReader();
      throw error;
    }
  }

  toReader(): void {
    const libc = nativeLibc();
    if (libc) libc.setRangeLock(this.#fd, F_UNLCK, USED_BASE + WRITE, RESIZE - WRITE + 1);
    lockWhole(this.#fd, 'read');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release();
  }
}
