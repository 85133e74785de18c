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
  readonly #lengths: Float64Array;
  #next = 0;

  /** In any order; they may overlap. */
  constructor(ranges: readonly FreeRange[]) {
    const sorted = [...ranges].sort((a, b) => a.offset - b.offset);
    this.#starts = Float64Array.from(sorted, ({ offset }) => offset);
    this.#lengths = Float64Array.from(sorted, ({ length }) => length);
    // Each end counts for all before it too, so that a long range is not lost behind short ones.
    let end = 0;
    for (let index = 0; index < sorted.length; index++) {
      const start = this.#starts[index] ?? 0;
      end = Math.max(end, start + (this.#lengths[index] ?? 0));
      this.#lengths[index] = end - start;
    }
  }

  /** Whether a range overlaps any; each call's range starts at or after the one before. */
  overlaps(offset: number, length: number): boolean {
    while (
      this.#next < this.#starts.length &&
      (this.#starts[this.#next] ?? 0) + (this.#lengths[this.#next] ?? 0) <= offset
    ) {
      this.#next++;
    }
    return this.#next < this.#starts.length && (this.#starts[this.#next] ?? 0) < offset + length;
  }
}
