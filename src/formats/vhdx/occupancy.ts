import { MIB } from './format.ts';

const CHUNK_BITS = 65_536;

/** Which MiB of the file belong to something: a bit each, in chunks that exist only where something is. */
export class Occupancy {
  readonly #chunks = new Map<number, Uint8Array>();

  /** Takes a range, both ends multiples of 1 MiB. @returns false, with nothing changed, when a part of it is taken */
  take(fileOffset: number, length: number): boolean {
    const first = fileOffset / MIB;
    const end = first + length / MIB;
    for (let index = first; index < end; index++) if (this.#isSet(index)) return false;
    for (let index = first; index < end; index++) this.#set(index);
    return true;
  }

  release(fileOffset: number, length: number): void {
    const first = fileOffset / MIB;
    for (let index = first; index < first + length / MIB; index++) {
      const chunk = this.#chunks.get(Math.floor(index / CHUNK_BITS));
      const bit = index % CHUNK_BITS;
      if (chunk) chunk[bit >> 3] = (chunk[bit >> 3] ?? 0) & ~(1 << (bit & 7));
    }
  }

  /** The free ranges between 0 and `end`, in order. */
  *gaps(end: number): Generator<{ readonly fileOffset: number; readonly length: number }> {
    let start = -1;
    const count = Math.floor(end / MIB);
    for (let index = 0; index <= count; index++) {
      const isFree = index < count && !this.#isSet(index);
      if (isFree && start < 0) start = index;
      if (!isFree && start >= 0) {
        yield { fileOffset: start * MIB, length: (index - start) * MIB };
        start = -1;
      }
    }
  }

  #isSet(index: number): boolean {
    const chunk = this.#chunks.get(Math.floor(index / CHUNK_BITS));
    const bit = index % CHUNK_BITS;
    return chunk !== undefined && ((chunk[bit >> 3] ?? 0) & (1 << (bit & 7))) !== 0;
  }

  #set(index: number): void {
    const key = Math.floor(index / CHUNK_BITS);
    let chunk = this.#chunks.get(key);
    if (!chunk) {
      chunk = new Uint8Array(CHUNK_BITS / 8);
      this.#chunks.set(key, chunk);
    }
    const bit = index % CHUNK_BITS;
    chunk[bit >> 3] = (chunk[bit >> 3] ?? 0) | (1 << (bit & 7));
  }
}
