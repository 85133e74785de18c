import type { ByteStore } from '../../store/index.ts';
import type { BlockTable } from './block-table.ts';

const MAX_CACHED_BYTES = 32 * 1024 * 1024;

/** The run of equal bits that begins at `first`, at most `count` long: positive when set, negative when clear. Bit 0 is the highest of byte 0. */
export function readBitRun(bitmap: Uint8Array, first: number, count: number): number {
  const isSet = bitAt(bitmap, first);
  const uniform = isSet === 1 ? 0xff : 0;
  let length = 0;
  while (length < count) {
    const bit = first + length;
    if ((bit & 7) === 0 && bitmap[bit >> 3] === uniform) length += 8;
    else if (bitAt(bitmap, bit) === isSet) length++;
    else break;
  }
  length = Math.min(length, count);
  return isSet === 1 ? length : -length;
}

/** Sets the bits of a range in place. */
export function setBits(bitmap: Uint8Array, first: number, count: number): void {
  const end = first + count;
  for (let bit = first; bit < end; ) {
    if ((bit & 7) === 0 && bit + 8 <= end) {
      const bytes = (end - bit) >> 3;
      bitmap.fill(0xff, bit >> 3, (bit >> 3) + bytes);
      bit += bytes * 8;
    } else {
      bitmap[bit >> 3] = (bitmap[bit >> 3] ?? 0) | (0x80 >> (bit & 7));
      bit++;
    }
  }
}

function bitAt(bitmap: Uint8Array, bit: number): number {
  return ((bitmap[bit >> 3] as number) >> (7 - (bit & 7))) & 1; // the caller's range lies within the bitmap
}

/**
 * The sector bitmaps of present blocks. Of a block whose bits are all set only that is remembered; the others are held
 * while there is room: the file is always as new as what is here.
 */
export class BitmapCache {
  readonly #store: ByteStore;
  readonly #table: BlockTable;
  readonly #bitmapBytes: number;
  readonly #sectorsOf: (block: number) => number;
  readonly #full: Uint8Array;
  readonly #held = new Map<number, Uint8Array>();
  readonly #maxHeld: number;

  /** @param sectorsOf how many sectors of a block the disk has: the last one may be shorter */
  constructor(store: ByteStore, table: BlockTable, bitmapBytes: number, sectorsOf: (block: number) => number) {
    this.#store = store;
    this.#table = table;
    this.#bitmapBytes = bitmapBytes;
    this.#sectorsOf = sectorsOf;
    this.#full = new Uint8Array(table.length);
    this.#maxHeld = Math.max(16, Math.floor(MAX_CACHED_BYTES / bitmapBytes));
  }

  /** Whether every sector of a present block is in this file. */
  isFull(block: number): boolean {
    if (this.#full[block] === 1) return true;
    if (this.#held.has(block)) return false;
    this.of(block);
    return this.#full[block] === 1;
  }

  /** The bits of a present block that is not full; the caller changes a copy. @throws HvError `io` */
  of(block: number): Uint8Array {
    const held = this.#held.get(block);
    if (held) return held;
    const bitmap = new Uint8Array(this.#bitmapBytes);
    this.#store.read(this.#table.offsetOf(block), bitmap, 0, bitmap.length);
    this.put(block, bitmap);
    return bitmap;
  }

  /** What the file holds from now on for a block. */
  put(block: number, bitmap: Uint8Array): void {
    const sectors = this.#sectorsOf(block);
    if (readBitRun(bitmap, 0, sectors) === sectors) {
      this.#full[block] = 1;
      this.#held.delete(block);
      return;
    }
    this.#full[block] = 0;
    if (this.#held.size >= this.#maxHeld) {
      for (const other of this.#held.keys()) {
        this.#held.delete(other);
        if (this.#held.size <= this.#maxHeld / 2) break;
      }
    }
    this.#held.set(block, bitmap);
  }

  markFull(block: number): void {
    this.#full[block] = 1;
    this.#held.delete(block);
  }

  forget(block: number): void {
    this.#full[block] = 0;
    this.#held.delete(block);
  }
}
