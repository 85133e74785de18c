import type { FreeRange } from './file-system.ts';

/** A run of bits that are zero. */
export interface BitRun {
  readonly first: number;
  readonly count: number;
}

/**
 * The runs of zero bits among the first `bits` of a bitmap, bit 0 the least significant of byte 0, in order. Whole bytes
 * of one kind are passed over at once.
 */
export function* zeroRuns(bitmap: Uint8Array, bits: number): Generator<BitRun> {
  let start = -1;
  for (let at = 0; at < bits; ) {
    const byte = bitmap[at >> 3] ?? 0xff;
    if ((at & 7) === 0 && bits - at >= 8) {
      if (byte === 0) {
        if (start < 0) start = at;
        at += 8;
        continue;
      }
      if (byte === 0xff) {
        if (start >= 0) yield { first: start, count: at - start };
        start = -1;
        at += 8;
        continue;
      }
    }
    const isFree = ((byte >> (at & 7)) & 1) === 0;
    if (isFree && start < 0) start = at;
    if (!isFree && start >= 0) {
      yield { first: start, count: at - start };
      start = -1;
    }
    at++;
  }
  if (start >= 0) yield { first: start, count: bits - start };
}

/** Ranges that belong to something, to be held against free ones that come in order. */
export class OwnedRanges {
  readonly #starts: Float64Array;
  readonly #ends: Float64Array;
  /** The furthest end of all ranges up to each, so that a long one is not lost behind short ones. */
  readonly #reach: Float64Array;
  #next = 0;

  /** @param ranges in any order; they may overlap. There may be millions: only their numbers are kept. */
  constructor(ranges: Iterable<FreeRange> | OwnedRanges) {
    if (ranges instanceof OwnedRanges) {
      this.#starts = ranges.#starts;
      this.#ends = ranges.#ends;
      this.#reach = ranges.#reach;
      return;
    }
    const starts: number[] = [];
    const ends: number[] = [];
    let isSorted = true;
    for (const { offset, length } of ranges) {
      isSorted &&= offset >= (starts.at(-1) ?? 0);
      starts.push(offset);
      ends.push(offset + length);
    }
    this.#starts = new Float64Array(starts.length);
    this.#ends = new Float64Array(starts.length);
    this.#reach = new Float64Array(starts.length);
    const order = Uint32Array.from(starts.keys());
    if (!isSorted) order.sort((a, b) => (starts[a] ?? 0) - (starts[b] ?? 0));
    let reach = 0;
    for (let index = 0; index < order.length; index++) {
      const from = order[index] ?? 0;
      const end = ends[from] ?? 0;
      reach = Math.max(reach, end);
      this.#starts[index] = starts[from] ?? 0;
      this.#ends[index] = end;
      this.#reach[index] = reach;
    }
  }

  /** The same ranges, gone through once more from the start. */
  again(): OwnedRanges {
    return new OwnedRanges(this);
  }

  /** Whether a range overlaps any; each call's range starts at or after the one before. */
  overlaps(offset: number, length: number): boolean {
    this.#skipTo(offset);
    return this.#next < this.#starts.length && (this.#starts[this.#next] ?? 0) < offset + length;
  }

  /** The parts of ranges that lie in a range, by their start; each call's range starts at or after the one before. */
  *within(offset: number, length: number): Generator<FreeRange> {
    this.#skipTo(offset);
    for (let index = this.#next; index < this.#starts.length; index++) {
      const start = Math.max(offset, this.#starts[index] ?? 0);
      if (start >= offset + length) return;
      const end = Math.min(offset + length, this.#ends[index] ?? 0);
      if (end > start) yield { offset: start, length: end - start };
    }
  }

  #skipTo(offset: number): void {
    while (this.#next < this.#reach.length && (this.#reach[this.#next] ?? 0) <= offset) this.#next++;
  }
}
