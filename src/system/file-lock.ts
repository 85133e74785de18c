import { spawnSync } from 'node:child_process';
import { closeSync, constants, fstatSync, openSync, statSync } from 'node:fs';
import { abortedError, sleep } from '../async/index.ts';
import { fromSystemError, HvError, isSystemError } from '../errors/index.ts';
import { ERRNO, LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, nativeError, nativeLibc } from '../native/index.ts';
import { findProgramSync, missingProgram } from './find-program.ts';
import { findLockHolder, type LockClass, type LockHolder } from './lock-holder.ts';

/**
 * Kernel locks: they end with the process that holds them, so nothing is ever judged by a file's age.
 * flock(2) belongs to the open file description, which a child inherits: that is why the small program flock(1) can
 * take the same lock for us where there is no FFI, and why both ways keep each other out.
 */

export type LockKind = 'shared' | 'exclusive';

/** A lock that is held. Leaving its scope gives it back; so does the end of the process. */
export interface FileLock extends AsyncDisposable {
  readonly path: string;
  /** Gives the lock back now. Idempotent. */
  release(): void;
}

/**
 * Takes a lock on an open file without waiting; asking again on the same descriptor converts it.
 * @returns false when somebody else holds it
 * @throws HvError `missing-dependency` (neither FFI nor flock(1)), `io`
 */
export function lockFile(fd: number, kind: LockKind): boolean {
  const libc = nativeLibc();
  if (!libc) return flockProgram(fd, kind === 'shared' ? '--shared' : '--exclusive');
  const result = libc.flock(fd, (kind === 'shared' ? LOCK_SH : LOCK_EX) | LOCK_NB);
  if (result >= 0) return true;
  if (result === -ERRNO.EAGAIN) return false;
  throw nativeError('flock', -result, 'could not lock a file');
}

/** Gives the lock back; closing the last descriptor of the open file does the same. */
export function unlockFile(fd: number): void {
  const libc = nativeLibc();
  if (libc) libc.flock(fd, LOCK_UN);
  else flockProgram(fd, '--unlock');
}

/** The descriptor's number in the child. */
const CHILD_FD = 3;
/** flock(1) is told to answer this when the lock is held, so that it is not confused with other failures. */
const HELD_STATUS = 75;

function flockProgram(fd: number, option: '--shared' | '--exclusive' | '--unlock'): boolean {
  const program = findProgramSync('flock');
  if (program === undefined) throw missingProgram('flock');
  const args = [option, '--nonblock', '--conflict-exit-code', String(HELD_STATUS), String(CHILD_FD)];
  const { status, error } = spawnSync(program, args, { stdio: ['ignore', 'ignore', 'ignore', fd], timeout: 10_000 });
  if (status === 0) return true;
  if (status === HELD_STATUS) return false;
  throw new HvError('io', 'could not lock a file', { detail: { program, exitCode: status }, cause: error });
}

export interface AcquireLockOptions {
  /** How long to wait for whoever holds it; 0 tries once. */
  readonly timeoutMs: number;
  readonly kind?: LockKind;
  /** Stops waiting. */
  readonly signal?: AbortSignal | undefined;
}

const FIRST_WAIT_MS = 5;
const LONGEST_WAIT_MS = 50;

/**
 * Locks a file of hv's own, creating it (mode 0600) when it is not there. It need not stay there: a lock on a file
 * that was replaced or removed meanwhile is not accepted.
 * @throws HvError `in-use` (still held after timeoutMs; names the process where it can be told), `aborted`,
 *   `permission-denied`, `not-found` (its folder), `missing-dependency`
 */
export async function acquireLock(path: string, options: AcquireLockOptions): Promise<FileLock> {
  const { timeoutMs, kind = 'exclusive', signal } = options;
  const deadline = performance.now() + timeoutMs;
  for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS)) {
    if (signal?.aborted) throw abortedError(signal, `waiting for the lock ${path}`);
    const fd = openLockFile(path);
    try {
      if (lockFile(fd, kind)) {
        if (isStillAt(fd, path)) return new OwnedLock(path, fd);
        // Somebody removed the file between our open and our lock: the next round meets the new one.
        closeSync(fd);
        continue;
      }
      if (performance.now() >= deadline) throw inUse(path, fd, ['FLOCK']);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    closeSync(fd);
    await sleep(Math.max(1, Math.min(waitMs, deadline - performance.now())), { signal });
  }
}

function openLockFile(path: string): number {
  try {
    return openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  } catch (error) {
    throw fromSystemError(error, `could not open the lock file ${path}`, { path });
  }
}

function isStillAt(fd: number, path: string): boolean {
  try {
    const locked = fstatSync(fd, { bigint: true });
    const present = statSync(path, { bigint: true });
    return locked.ino === present.ino && locked.dev === present.dev;
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return false;
    throw error;
  }
}

class OwnedLock implements FileLock {
  readonly path: string;
  #fd: number | undefined;

  constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
  }

  release(): void {
    if (this.#fd === undefined) return;
    closeSync(this.#fd);
    this.#fd = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release();
  }
}

/** The `in-use` error for a locked file: names the path and, where it can be told, the process. */
export function inUse(path: string, fd: number, kinds: readonly LockClass[]): HvError {
  const holder: LockHolder | undefined = findLockHolder(fstatSync(fd, { bigint: true }), kinds);
  const by = holder === undefined ? 'another program' : `process ${holder.pid} (${printable(holder.command)})`;
  return new HvError('in-use', `${path} is in use by ${by}`, {
    detail: { path, ...(holder === undefined ? {} : { pid: holder.pid, command: printable(holder.command) }) },
    hint: 'Close what uses it, then try again.',
  });
}

/** A process chooses its own name: nothing of it may steer a terminal. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?');
}
