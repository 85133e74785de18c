import { roundUp } from '../../binary/index.ts';
import type { ByteStore } from '../../store/index.ts';
import type { BulkPlace, BulkTarget } from '../bulk-target.ts';
import { createVhdImage, type NewVhd } from './create.ts';
import { tableBytesOf } from './dynamic-header.ts';
import { BAT_ENTRY_BYTES, FOOTER_BYTES, NEW_FILE, PAYLOAD_ALIGNMENT, SECTOR, UNUSED_ENTRY } from './format.ts';

/**
 * Starts a new fixed or dynamic disk in an empty store, to be filled before it is used: payload first, one block behind
 * the other in the order of the questions, then the block allocation table once, and the footer behind it all.
 * @throws HvError `invalid-argument`, `no-space`, `io`
 */
export function startVhd(store: ByteStore, spec: NewVhd & { readonly type: 'fixed' | 'dynamic' }): BulkTarget {
  createVhdImage(store, spec);
  if (spec.type === 'fixed') {
    return { place: (fileOffset, length) => ({ fileOffset, length }), finish: () => {} };
  }
  return new DynamicWriter(store, spec.virtualSizeBytes, spec.blockSizeBytes ?? NEW_FILE.blockSize);
}

class DynamicWriter implements BulkTarget {
  readonly #store: ByteStore;
  readonly #blockSize: number;
  /** The sector of each block. */
  readonly #entries: Uint32Array;
  /** What a new block's sector bitmap holds: every sector is here. */
  readonly #bitmap: Uint8Array;
  readonly #isAligned: boolean;
  #end: number;

  constructor(store: ByteStore, sizeBytes: number, blockSizeBytes: number) {
    this.#store = store;
    this.#blockSize = blockSizeBytes;
    this.#bitmap = new Uint8Array(roundUp(blockSizeBytes / SECTOR / 8, SECTOR)).fill(0xff);
    this.#entries = new Uint32Array(Math.ceil(sizeBytes / blockSizeBytes)).fill(UNUSED_ENTRY);
    this.#end = NEW_FILE.tableOffset + tableBytesOf(this.#entries.length);
    // With small blocks the padding of the largest disks would lie beyond what 32 bits can point at.
    const stride = roundUp(this.#bitmap.length + blockSizeBytes, PAYLOAD_ALIGNMENT);
    this.#isAligned = (this.#end + PAYLOAD_ALIGNMENT + this.#entries.length * stride) / SECTOR < UNUSED_ENTRY;
    // The footer of the disk as it was empty: its place is the first block's, or nobody's.
    store.write(this.#end, new Uint8Array(FOOTER_BYTES), 0, FOOTER_BYTES);
  }

  place(offset: number, length: number): BulkPlace {
    const block = Math.floor(offset / this.#blockSize);
    const entry = this.#entries[block] ?? UNUSED_ENTRY;
    const blockOffset = entry === UNUSED_ENTRY ? this.#place(block) : entry * SECTOR;
    const inBlock = offset - block * this.#blockSize;
    const fileOffset = blockOffset + this.#bitmap.length + inBlock;
    return { fileOffset, length: Math.min(length, this.#blockSize - inBlock) };
  }

  finish(): void {
    const footer = new Uint8Array(FOOTER_BYTES);
    this.#store.read(0, footer, 0, FOOTER_BYTES);
    this.#store.setSize(this.#end + FOOTER_BYTES);
    this.#store.write(this.#end, footer, 0, FOOTER_BYTES);
    const bytes = Buffer.from(this.#entries.buffer);
    bytes.swap32();
    this.#store.write(NEW_FILE.tableOffset, bytes, 0, this.#entries.length * BAT_ENTRY_BYTES);
  }

  #place(block: number): number {
    const bitmapBytes = this.#bitmap.length;
    const offset = this.#isAligned
      ? roundUp(this.#end + bitmapBytes, PAYLOAD_ALIGNMENT) - bitmapBytes
      : roundUp(this.#end, SECTOR);
    this.#entries[block] = offset / SECTOR;
    this.#end = offset + bitmapBytes + this.#blockSize;
    this.#store.write(offset, this.#bitmap, 0, bitmapBytes);
    return offset;
  }
}
