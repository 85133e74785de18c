import { type LongOptions, throttleProgress, throwIfAborted } from '../../async/index.ts';
import type { BulkTarget } from '../../formats/bulk-target.ts';
import type { ByteStore } from '../../store/index.ts';
import { copyFileRange } from '../../system/index.ts';
import { type DataRun, dataRuns } from './data-runs.ts';
import type { DiskSource, Place } from './disk-source.ts';
import { EarlyFlush } from './early-flush.ts';
import { isZero, turn } from './scan.ts';

/** The unit in which data is looked at: what begins with zeros is searched, everything else is copied as it is. */
const UNIT_BYTES = 2 ** 20;
const LOOK_BYTES = 4096;
/** Zeros shorter than this are copied along. */
const ZERO_BYTES = 64 * 1024;
/** Copied at once: bounds how long an abort waits. */
const MAX_COPY_BYTES = 32 * 2 ** 20;
const RUNS_PER_TURN = 256;
/** Through memory, where the kernel cannot copy by itself. */
const BUFFER_BYTES = 2 * 2 ** 20;

export interface CopyOptions extends LongOptions {
  readonly phase: string;
}

export interface CopyResult {
  /** Bytes that were written. */
  readonly writtenBytes: number;
}

/**
 * Moves a disk's contents into a new, empty image file. Only what is data is touched, and of that what begins with
 * zeros is searched for more of them. The order of the target's blocks is that of the disk.
 * @throws HvError `no-space`, `io`, `corrupt`, `aborted`
 */
export async function copyData(
  source: DiskSource,
  target: BulkTarget,
  store: ByteStore,
  options: CopyOptions,
): Promise<CopyResult> {
  const copier = new Copier(target, store);
  const flush = new EarlyFlush(store);
  try {
    await copyRuns(source, copier, flush, options);
  } finally {
    await flush.end();
  }
  return { writtenBytes: copier.movedBytes };
}

async function copyRuns(source: DiskSource, copier: Copier, flush: EarlyFlush, options: CopyOptions): Promise<void> {
  const total = source.sizeBytes;
  const report = throttleProgress(options.onProgress);
  let movedAtTurn = 0;
  let runs = 0;
  for (const run of dataRuns(source, 0, total)) {
    for (let done = 0; done < run.length; ) {
      const count = Math.min(MAX_COPY_BYTES, run.length - done);
      copier.copy(run, done, count);
      done += count;
      // Lets an abort and everything else in the process have its turn: now and then, since a turn is not for nothing.
      if (copier.movedBytes - movedAtTurn >= MAX_COPY_BYTES || ++runs % RUNS_PER_TURN === 0) {
        movedAtTurn = copier.movedBytes;
        flush.advance(copier.movedBytes);
        report({ phase: options.phase, done: run.offset + done, total });
        await turn();
        throwIfAborted(options.signal, 'copying the disk');
      }
    }
  }
  copier.flush();
  report({ phase: options.phase, done: total, total });
}

/** A copy that waits for more of its kind: what follows in both files is copied with it. */
interface Pending {
  readonly place: Place;
  readonly to: number;
  length: number;
}

class Copier {
  movedBytes = 0;
  readonly #target: BulkTarget;
  readonly #store: ByteStore;
  readonly #buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  #pending: Pending | undefined;
  #kernelCopies = true;

  constructor(target: BulkTarget, store: ByteStore) {
    this.#target = target;
    this.#store = store;
  }

  /** @param from the part of the run that is to be copied, from its start */
  copy(run: DataRun, from: number, length: number): void {
    const end = run.offset + from + length;
    for (let at = run.offset + from; at < end; ) {
      const count = Math.min(end - at, UNIT_BYTES - (at % UNIT_BYTES));
      const place = { ...run.place, fileOffset: run.place.fileOffset + (at - run.offset) };
      this.#copyUnit(place, at, count);
      at += count;
    }
  }

  flush(): void {
    const pending = this.#pending;
    this.#pending = undefined;
    if (!pending) return;
    const { place, to, length } = pending;
    const done = this.#copyInKernel(place, to, length);
    for (let at = done; at < length; ) {
      const count = Math.min(BUFFER_BYTES, length - at);
      place.store.read(place.fileOffset + at, this.#buffer, 0, count);
      this.#store.write(to + at, this.#buffer, 0, count);
      at += count;
    }
    this.movedBytes += length;
  }

  #copyUnit(place: Place, offset: number, length: number): void {
    const look = Math.min(LOOK_BYTES, length);
    place.store.read(place.fileOffset, this.#buffer, 0, look);
    if (!isZero(this.#buffer, 0, look)) {
      for (let done = 0; done < length; ) {
        const row = this.#target.place(offset + done, length - done);
        this.#enqueue({ ...place, fileOffset: place.fileOffset + done }, row.fileOffset, row.length);
        done += row.length;
      }
      return;
    }
    place.store.read(place.fileOffset, this.#buffer, 0, length);
    for (let at = 0; at < length; at += ZERO_BYTES) {
      const count = Math.min(ZERO_BYTES, length - at);
      if (isZero(this.#buffer, at, count)) continue;
      for (let done = 0; done < count; ) {
        const { fileOffset, length: row } = this.#target.place(offset + at + done, count - done);
        this.#store.write(fileOffset, this.#buffer, at + done, row);
        done += row;
      }
      this.movedBytes += count;
    }
  }

  #enqueue(place: Place, to: number, length: number): void {
    const last = this.#pending;
    if (
      last &&
      last.place.store === place.store &&
      last.place.fd === place.fd &&
      last.place.fileOffset + last.length === place.fileOffset &&
      last.to + last.length === to &&
      last.length + length <= MAX_COPY_BYTES
    ) {
      last.length += length;
      return;
    }
    this.flush();
    this.#pending = { place, to, length };
  }

  #copyInKernel(place: Place, to: number, length: number): number {
    if (!this.#kernelCopies || place.fd === undefined || this.#store.fd === undefined) return 0;
    // A file may end before its last block does; the rest reads as zero, which the target does by itself.
    const done = copyFileRange(place.fd, place.fileOffset, this.#store.fd, to, length);
    if (done === 0 && place.store.size() > place.fileOffset) this.#kernelCopies = false;
    return done;
  }
}
