import { fstatSync, statfsSync } from 'node:fs';
import { HvError } from '../errors/index.ts';
import {
  ERRNO,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  nativeError,
  nativeLibc,
  RWF_NOWAIT,
  SEEK_DATA,
  SEEK_HOLE,
} from '../native/index.ts';

/**
 * What a file system can do with holes. All calls are synchronous (the disk data plane has its own thread) and have
 * a plain answer where there is no FFI or the file system does not play along: everything is data, nothing is done.
 */

const NOT_HERE: ReadonlySet<number> = new Set([
  -ERRNO.ENOSYS,
  -ERRNO.EOPNOTSUPP,
  -ERRNO.EINVAL,
  -ERRNO.ENOTTY,
  -ERRNO.ENODEV,
  -ERRNO.ESPIPE,
]);

/**
 * Gives a range's space back; it reads as zero afterwards and the file keeps its length.
 * @returns false where that is impossible: the caller writes zeros
 * @throws HvError `io`, `permission-denied`
 */
export function punchHole(fd: number, offset: number, length: number): boolean {
  if (length <= 0) return true;
  const libc = nativeLibc();
  if (!libc) return false;
  const result = libc.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
  if (result >= 0) return true;
  if (NOT_HERE.has(result)) return false;
  throw nativeError('fallocate', -result, 'could not punch a hole', { offset, length });
}

/**
 * Reserves space for a range, also beyond the end; contents and length stay. What cannot fit is refused at once: the
 * kernel would take all that is left, from everybody, before it says so.
 * @returns false where that is impossible
 * @throws HvError `no-space`, `io`
 */
export function preallocate(fd: number, offset: number, length: number): boolean {
  if (length <= 0) return true;
  const libc = nativeLibc();
  if (!libc) return false;
  mustHaveRoom(fd, length);
  const result = libc.fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, length);
  if (result >= 0) return true;
  if (NOT_HERE.has(result)) return false;
  throw nativeError('fallocate', -result, 'could not reserve space', { offset, length });
}

/** @throws HvError `no-space` when the file could not hold so much even if all that it has were in the range */
function mustHaveRoom(fd: number, neededBytes: number): void {
  const { blocks, bavail, bsize } = statfsSync(`/proc/self/fd/${fd}`);
  const freeBytes = bavail * bsize;
  // Some file systems do not count their blocks; the reservation itself is the judge there.
  if (blocks === 0 || neededBytes <= freeBytes + fstatSync(fd).blocks * 512) return;
  throw new HvError('no-space', 'could not reserve space', { detail: { neededBytes, freeBytes } });
}

/** Where the next data at or after `offset` begins; undefined when only a hole follows. */
export function nextData(fd: number, offset: number): number | undefined {
  const result = nativeLibc()?.lseek(fd, offset, SEEK_DATA) ?? -ERRNO.ENOSYS;
  if (result >= 0) return result;
  if (result === -ERRNO.ENXIO) return undefined;
  if (!NOT_HERE.has(result)) throw nativeError('lseek', -result, 'could not look for data', { offset });
  return offset < fstatSync(fd).size ? offset : undefined;
}

/** Where the next hole at or after `offset` begins; the file's end counts as one, so there always is an answer. */
export function nextHole(fd: number, offset: number): number {
  const result = nativeLibc()?.lseek(fd, offset, SEEK_HOLE) ?? -ERRNO.ENOSYS;
  if (result >= 0) return result;
  if (result !== -ERRNO.ENXIO && !NOT_HERE.has(result))
    throw nativeError('lseek', -result, 'could not look for a hole', { offset });
  return Math.max(offset, fstatSync(fd).size);
}

/** One call's worth; the kernel stops at 2 GiB by itself. */
const COPY_CHUNK_BYTES = 2 ** 30;

/**
 * Copies inside the kernel (shared blocks where the file system can).
 * @returns how many bytes were copied: less than `length` where the source ends, 0 also where it is not supported,
 *   so a caller that gets less copies the rest itself
 * @throws HvError `no-space`, `io`
 */
export function copyFileRange(
  fdIn: number,
  offsetIn: number,
  fdOut: number,
  offsetOut: number,
  length: number,
): number {
  const libc = nativeLibc();
  if (!libc) return 0;
  let done = 0;
  while (done < length) {
    const chunk = Math.min(length - done, COPY_CHUNK_BYTES);
    const result = libc.copyFileRange(fdIn, offsetIn + done, fdOut, offsetOut + done, chunk);
    if (result === 0) break;
    if (result > 0) done += result;
    else if (NOT_HERE.has(result) || result === -ERRNO.EXDEV || result === -ERRNO.EBADF) break;
    else throw nativeError('copy_file_range', -result, 'could not copy inside the kernel', { offsetIn, offsetOut });
  }
  return done;
}

/**
 * Reads what is in memory and nothing more: never waits for storage.
 * @returns the bytes read (fewer than asked where the rest is not in memory, 0 at the end of the file), or -1 when it
 *   would have to wait or the file system cannot tell
 * @throws HvError `io`
 */
export function preadNowait(fd: number, buffer: Uint8Array, start: number, length: number, position: number): number {
  const result = nativeLibc()?.preadv2(fd, buffer, start, length, position, RWF_NOWAIT) ?? -1;
  if (result >= 0) return result;
  if (result === -ERRNO.EIO) throw nativeError('preadv2', -result, 'could not read', { position, length });
  return -1;
}

/** Whether preadNowait can answer anything but -1 on this file: a file system without it (tmpfs of old) never does. */
export function canReadNowait(fd: number): boolean {
  const result = nativeLibc()?.preadv2(fd, new Uint8Array(1), 0, 1, 0, RWF_NOWAIT) ?? -ERRNO.ENOSYS;
  return result >= 0 || result === -ERRNO.EAGAIN;
}
