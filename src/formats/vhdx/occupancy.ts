import { MIB, type VhdxHeader, type VhdxRegion } from './format.ts';

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

  /** The free ranges between 0 and `end`, in order. Takes time for what is taken, not for what is free. */
  *gaps(end: number): Generator<{ readonly fileOffset: number; readonly length: number }> {
    const count = Math.floor(end / MIB);
    let start = 0;
    for (const key of [...this.#chunks.keys()].sort((a, b) => a - b)) {
      const last = Math.min((key + 1) * CHUNK_BITS, count);
      for (let index = key * CHUNK_BITS; index < last; index++) {
        if (!this.#isSet(index)) continue;
        if (index > start) yield { fileOffset: start * MIB, length: (index - start) * MIB };
        start = index + 1;
      }
    }
    if (count > start) yield { fileOffset: start * MIB, length: (count - start) * MIB };
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

/** What a file's structures take: its head, its log, its regions. The last of them ends at `structuresEnd`. */
export function occupyStructures(
  { logOffset, logLength }: VhdxHeader,
  regions: readonly VhdxRegion[],
): { readonly occupancy: Occupancy; readonly structuresEnd: number } {
  const occupancy = new Occupancy();
  occupancy.take(0, MIB);
  occupancy.take(logOffset, logLength);
  let structuresEnd = logOffset + logLength;
  for (const region of regions) {
    occupancy.take(region.fileOffset, region.length);
    structuresEnd = Math.max(structuresEnd, region.fileOffset + region.length);
  }
  return { occupancy, structuresEnd };
}
