import { readSync, writeSync } from 'node:fs';
import { abortedError, type Deferred, deferred, sleep } from '../async/index.ts';
import { ERRNO, type Libc, nativeError, nativeLibc } from '../native/index.ts';
import { isAlive, type ProcessIdentity } from './process-identity.ts';

const POLL_INTERVAL_MS = 50;
/** A wait in the thread pool keeps the process alive and cannot be taken back: never longer than this. */
const LONGEST_WAIT_MS = 250;

/**
 * Waits until a process that is not our child has ended (a zombie has). With FFI all waits of the process share one
 * pidfd poll in the thread pool; else /proc is looked at every 50 ms.
 * @throws HvError `aborted`: stops waiting, the process is left alone
 */
export async function waitForExit(
  identity: ProcessIdentity,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const { signal } = options;
  if (signal?.aborted) throw abortedError(signal, `waiting for process ${identity.pid} to end`);
  const libc = nativeLibc();
  if (libc) {
    const pidfd = libc.pidfdOpen(identity.pid);
    if (pidfd === -ERRNO.ESRCH) return;
    if (pidfd >= 0) {
      // Opened by number: only now is it sure to be the process that was meant, and to stay it.
      if (isAlive(identity)) return waitReadable(libc, pidfd, identity.pid, signal);
      libc.close(pidfd);
      return;
    }
    // Too old a kernel, or no descriptors left: the plain way.
  }
  while (isAlive(identity)) await sleep(POLL_INTERVAL_MS, { signal });
}

async function waitReadable(libc: Libc, pidfd: number, pid: number, signal: AbortSignal | undefined): Promise<void> {
  watcher ??= new PidfdWatcher(libc);
  const { promise, leave } = watcher.join(pidfd);
  const onAbort = (): void => {
    if (signal) leave(abortedError(signal, `waiting for process ${pid} to end`));
  };
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    await promise;
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
}

let watcher: PidfdWatcher | undefined;

/** One poll over all descriptors, so that any number of waits takes one thread of the pool. */
class PidfdWatcher {
  readonly #libc: Libc;
  readonly #waiting = new Map<number, Deferred<void>>();
  /** Descriptors given up while a poll may hold them: closed after it. */
  readonly #abandoned: number[] = [];
  /** Ends a running poll when the set changes. */
  readonly #wakeFd: number;
  #running = false;

  constructor(libc: Libc) {
    this.#libc = libc;
    const wakeFd = libc.eventfd();
    if (wakeFd < 0) throw nativeError('eventfd', -wakeFd, 'could not watch processes');
    this.#wakeFd = wakeFd;
  }

  join(pidfd: number): { readonly promise: Promise<void>; leave(reason: unknown): void } {
    const done = deferred<void>();
    this.#waiting.set(pidfd, done);
    if (this.#running) this.#wake();
    else void this.#run();
    return {
      promise: done.promise,
      leave: (reason) => {
        if (!this.#waiting.delete(pidfd)) return;
        this.#abandoned.push(pidfd);
        this.#wake();
        done.reject(reason);
      },
    };
  }

  #wake(): void {
    const one = Buffer.alloc(8);
    one.writeBigUInt64LE(1n);
    writeSync(this.#wakeFd, one);
  }

  async #run(): Promise<void> {
    this.#running = true;
    try {
      while (this.#waiting.size > 0) {
        const ready = await this.#libc.pollReadable([this.#wakeFd, ...this.#waiting.keys()], LONGEST_WAIT_MS);
        for (const fd of ready) {
          if (fd === this.#wakeFd) readSync(fd, Buffer.alloc(8));
          else this.#finish(fd);
        }
        for (const fd of this.#abandoned.splice(0)) this.#libc.close(fd);
      }
    } catch (error) {
      for (const [fd, done] of this.#waiting) {
        this.#libc.close(fd);
        done.reject(error);
      }
      this.#waiting.clear();
    } finally {
      this.#running = false;
    }
  }

  #finish(fd: number): void {
    const done = this.#waiting.get(fd);
    if (!done) return;
    this.#waiting.delete(fd);
    this.#libc.close(fd);
    done.resolve();
  }
}
