import { type DataRun, dataRuns } from './data-runs.ts';
import type { DiskSource, Place } from './disk-source.ts';

/** A range of two disks of which at least one has data there; undefined: that one reads as zero. */
export interface PairedRun {
  readonly offset: number;
  readonly length: number;
  readonly first: Place | undefined;
  readonly second: Place | undefined;
}

/**
 * Walks two disks side by side over what is data in either. What both read as zero is left out, and so is what both
 * have from the same place of the same file. Beyond the end of the shorter disk, that one reads as zero.
 */
export function* pairedRuns(first: DiskSource, second: DiskSource): Generator<PairedRun> {
  const a = new Cursor(first);
  const b = new Cursor(second);
  for (;;) {
    const at = Math.min(a.offset, b.offset);
    if (at === Number.POSITIVE_INFINITY) return;
    const end = Math.min(a.endFrom(at), b.endFrom(at));
    const placeA = a.placeAt(at);
    const placeB = b.placeAt(at);
    if (!isSame(placeA, placeB)) yield { offset: at, length: end - at, first: placeA, second: placeB };
    a.moveTo(end);
    b.moveTo(end);
  }
}

function isSame(a: Place | undefined, b: Place | undefined): boolean {
  if (!a || !b || a.fd === undefined || b.fd === undefined) return false;
  return a.identity === b.identity && a.fileOffset === b.fileOffset;
}

/** Where one disk's walk stands: in a run of data, or before one. */
class Cursor {
  readonly #runs: Iterator<DataRun>;
  #run: DataRun | undefined;
  #at: number;

  constructor(source: DiskSource) {
    this.#runs = dataRuns(source, 0, source.sizeBytes)[Symbol.iterator]();
    this.#at = 0;
    this.#next();
  }

  /** Where the next byte of data lies; infinity behind the last. */
  get offset(): number {
    return this.#run ? this.#at : Number.POSITIVE_INFINITY;
  }

  /** How far it is the same from `offset` on: to the end of the run, or to its start where it lies ahead. */
  endFrom(offset: number): number {
    if (!this.#run) return Number.POSITIVE_INFINITY;
    return this.#at > offset ? this.#at : this.#run.offset + this.#run.length;
  }

  placeAt(offset: number): Place | undefined {
    if (!this.#run || this.#at > offset) return undefined;
    const { place } = this.#run;
    return { ...place, fileOffset: place.fileOffset + (offset - this.#run.offset) };
  }

  moveTo(offset: number): void {
    if (!this.#run || this.#at >= offset) return;
    this.#at = offset;
    if (offset >= this.#run.offset + this.#run.length) this.#next();
  }

  #next(): void {
    const { value, done } = this.#runs.next();
    this.#run = done === true ? undefined : value;
    if (this.#run) this.#at = this.#run.offset;
  }
}
