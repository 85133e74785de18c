import { closeSync, read, writeSync } from 'node:fs';
import { sleep } from '../../async/index.ts';
import { fromSystemError, HvError, isSystemError } from '../../errors/index.ts';
import { FuseSession, type FuseSessionOptions } from './session.ts';
import { REQUEST_BUFFER_BYTES } from './wire.ts';

const MOUNT_POLL_MS = 2;

/**
 * Carries requests from the kernel's descriptor to a session and its answers back, until the file system is unmounted.
 * Reads wait in the thread pool, one at a time. Whoever runs this must not touch the mounted files itself: it would wait
 * for its own answer.
 */
export class FuseChannel {
  readonly #fd: number;
  readonly #session: FuseSession;
  readonly #request = Buffer.alloc(REQUEST_BUFFER_BYTES);
  readonly #flushes = new Set<Promise<void>>();
  #isAwaitingMount = true;
  /** Resolves once the file system is unmounted and every answer is given; the descriptor is closed then. */
  readonly ended: Promise<void>;

  /** @param fd an open descriptor of /dev/fuse; the channel owns it from now on */
  constructor(fd: number, options: FuseSessionOptions) {
    this.#fd = fd;
    this.#session = new FuseSession(options);
    this.ended = this.#run();
    this.ended.catch(() => {}); // met again by whoever waits for the end
  }

  /** Gives up a descriptor that was never mounted. */
  abandon(): void {
    this.#isAwaitingMount = false;
  }

  async #run(): Promise<void> {
    try {
      for (;;) {
        const length = await this.#next();
        if (length === undefined) return;
        const answer = this.#session.handle(this.#request.subarray(0, length));
        if (answer instanceof Promise) this.#answerLater(answer);
        else if (answer) this.#write(answer);
      }
    } finally {
      await Promise.all(this.#flushes);
      closeSync(this.#fd);
    }
  }

  /** The length of the next request; undefined when there will be none. */
  async #next(): Promise<number | undefined> {
    for (;;) {
      try {
        const length = await new Promise<number>((resolve, reject) => {
          read(this.#fd, this.#request, 0, this.#request.length, null, (error, bytesRead) => {
            if (error) reject(error);
            else resolve(bytesRead);
          });
        });
        this.#isAwaitingMount = false;
        return length;
      } catch (error) {
        // Not mounted yet. Mounting may wait for the first answer, so that this cannot wait for the mount.
        if (isSystemError(error, 'EPERM') && this.#isAwaitingMount) {
          await sleep(MOUNT_POLL_MS);
          continue;
        }
        if (isSystemError(error, 'EPERM')) return undefined;
        if (isSystemError(error, 'ENODEV')) return undefined;
        // A request that was taken back before it was read, or a signal: the next one.
        if (isSystemError(error, 'ENOENT', 'EINTR', 'EAGAIN')) continue;
        throw fromSystemError(error, "could not read the kernel's requests for the disk's files");
      }
    }
  }

  #answerLater(answer: Promise<Buffer>): void {
    const flush = answer.then((bytes) => this.#write(bytes)).finally(() => this.#flushes.delete(flush));
    this.#flushes.add(flush);
  }

  #write(answer: Buffer): void {
    try {
      const written = writeSync(this.#fd, answer);
      if (written !== answer.length) throw new HvError('io', 'the kernel took only a part of an answer');
    } catch (error) {
      // Whoever asked has given up, or everything was unmounted meanwhile.
      if (isSystemError(error, 'ENOENT', 'ENODEV', 'EINTR')) return;
      throw fromSystemError(error, "could not answer the kernel's request for the disk's files");
    }
  }
}
