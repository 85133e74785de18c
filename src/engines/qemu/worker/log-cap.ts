import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { punchHole } from '../../../system/index.ts';
import { describe, log } from '../log.ts';

/** So much of the end of a log is always there. */
export const KEPT_LOG_BYTES = 2 ** 20;
const PUNCH_EVERY_BYTES = 2 ** 20;
const LOOK_EVERY_MS = 5000;

/**
 * Keeps the logs that QEMU writes for as long as a machine runs from filling the disk. QEMU has them open to append, and
 * may write at any moment: so the old part is given back to the file system as a hole, and nothing is lost or moved. The
 * file's size goes on growing, the space that it takes does not.
 */
export class LogCap implements Disposable {
  readonly #files: readonly string[];
  readonly #freedBytes = new Map<string, number>();
  readonly #timer: NodeJS.Timeout;

  constructor(files: readonly string[]) {
    this.#files = files;
    this.#timer = setInterval(() => this.look(), LOOK_EVERY_MS);
    this.#timer.unref();
  }

  look(): void {
    for (const file of this.#files) {
      try {
        this.#cap(file);
      } catch (error) {
        log(`${file}: ${describe(error)}`);
      }
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #cap(file: string): void {
    const freed = this.#freedBytes.get(file) ?? 0;
    const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
    if (size - freed < KEPT_LOG_BYTES + PUNCH_EVERY_BYTES) return;
    const fd = openSync(file, constants.O_RDWR | constants.O_NOFOLLOW);
    try {
      const end = size - KEPT_LOG_BYTES;
      if (punchHole(fd, 0, end)) this.#freedBytes.set(file, end);
      else shorten(fd); // what is written between its two steps is lost: better than a full disk
    } finally {
      closeSync(fd);
    }
  }
}

/** Cuts a log that nobody writes to down to its end. */
export function shortenLog(file: string): void {
  if ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) <= KEPT_LOG_BYTES) return;
  const fd = openSync(file, constants.O_RDWR | constants.O_NOFOLLOW);
  try {
    shorten(fd);
  } finally {
    closeSync(fd);
  }
}

function shorten(fd: number): void {
  const tail = Buffer.alloc(KEPT_LOG_BYTES);
  const count = readSync(fd, tail, 0, tail.length, Math.max(0, fstatSync(fd).size - tail.length));
  ftruncateSync(fd, 0);
  writeSync(fd, tail, 0, count, 0);
}
