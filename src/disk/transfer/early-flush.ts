import { fdatasync } from 'node:fs';
import { fromSystemError } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';

/** So much is written between two flushes. */
const STEP_BYTES = 256 * 2 ** 20;

/**
 * Has storage work on what is written while more is being copied, instead of all of it at the end: a flush in the
 * thread pool at a time. What it reports counts: the kernel tells a failure once.
 */
export class EarlyFlush {
  readonly #store: ByteStore;
  #running: Promise<void> | undefined;
  #failure: unknown;
  #startedAt = 0;

  constructor(store: ByteStore) {
    this.#store = store;
  }

  /** @param writtenBytes so far. @throws HvError `io`, `no-space`: what an earlier flush reported */
  advance(writtenBytes: number): void {
    if (this.#failure !== undefined) throw this.#failure;
    const { fd, name } = this.#store;
    if (fd === undefined || this.#running || writtenBytes - this.#startedAt < STEP_BYTES) return;
    this.#startedAt = writtenBytes;
    this.#running = new Promise((resolve) => {
      fdatasync(fd, (error) => {
        this.#running = undefined;
        if (error) this.#failure = fromSystemError(error, `could not flush ${name}`, { path: name });
        resolve();
      });
    });
  }

  /** Waits for what is under way: nothing uses the descriptor afterwards. @throws HvError `io`, `no-space` */
  async end(): Promise<void> {
    await this.#running;
    if (this.#failure !== undefined) throw this.#failure;
  }
}
