import { HvError } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import { joinSegments, type ParentDisk, type Segment } from '../disk-image.ts';
import { type BlockTable, offsetIn, stateIn } from './block-table.ts';
import { PAYLOAD, SECTORS_PER_BITMAP_BLOCK } from './format.ts';
import type { VhdxMetadata } from './metadata.ts';
import type { MetadataCache } from './metadata-cache.ts';
import { readBitRun } from './sector-bitmap.ts';
import { type BlockView, blockSegments } from './segments.ts';

/** What of an open image says where the bytes of its disk lie. */
export interface BlockParts {
  readonly store: ByteStore;
  readonly cache: MetadataCache;
  readonly table: BlockTable;
  readonly metadata: VhdxMetadata;
}

/** The payload blocks of an open image, as its table, its bitmaps and its parent say: looked up, and read. */
export class BlockReader {
  readonly #store: ByteStore;
  readonly #cache: MetadataCache;
  readonly #hasParent: boolean;
  readonly #chunkBytes: number;
  readonly blockSizeBytes: number;
  readonly sectorSizeBytes: number;
  #table: BlockTable;
  #sizeBytes: number;
  #parent: ParentDisk | undefined;
  #state = 0;
  #fileOffset = 0;

  constructor({ store, cache, table, metadata }: BlockParts) {
    this.#store = store;
    this.#cache = cache;
    this.#table = table;
    this.#hasParent = metadata.hasParent;
    this.blockSizeBytes = metadata.blockSizeBytes;
    this.sectorSizeBytes = metadata.logicalSectorSizeBytes;
    this.#chunkBytes = SECTORS_PER_BITMAP_BLOCK * this.sectorSizeBytes;
    this.#sizeBytes = metadata.virtualSizeBytes;
  }

  get table(): BlockTable {
    return this.#table;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get parent(): ParentDisk | undefined {
    return this.#parent;
  }

  /** The entry that find() looked up last: its state. */
  get state(): number {
    return this.#state;
  }

  /** The same entry: where the block lies in the file. */
  get fileOffset(): number {
    return this.#fileOffset;
  }

  /** Bytes of the disk under one bitmap block. */
  get chunkBytes(): number {
    return this.#chunkBytes;
  }

  setParent(parent: ParentDisk): void {
    this.#parent = parent;
  }

  /** The disk has another size from here on, and another table. */
  resized(table: BlockTable, sizeBytes: number): void {
    this.#table = table;
    this.#sizeBytes = sizeBytes;
  }

  /** @throws HvError `invalid-argument` (out of range), `io`, `corrupt`, `invalid-state` (a child without its parent) */
  read(offset: number, target: Uint8Array, targetStart: number, length: number): void {
    this.mustContain(offset, length);
    this.#cache.trim();
    const blockSize = this.blockSizeBytes;
    let at = offset;
    let targetAt = targetStart;
    let left = length;
    while (left > 0) {
      const block = Math.floor(at / blockSize);
      const inBlock = at - block * blockSize;
      const count = Math.min(left, blockSize - inBlock);
      this.find(block);
      if (this.#state === PAYLOAD.full) this.#store.read(this.#fileOffset + inBlock, target, targetAt, count);
      else if (this.#state === PAYLOAD.partial) this.#readPartial(block, at, inBlock, target, targetAt, count);
      else if (this.#state === PAYLOAD.notPresent) this.#readParent(at, target, targetAt, count);
      else target.fill(0, targetAt, targetAt + count);
      at += count;
      targetAt += count;
      left -= count;
    }
  }

  /** Where the bytes of a range come from, in order and without gaps; neighbours of one kind and place are one. */
  segments(offset: number, length: number, depth = 0): Generator<Segment> {
    this.mustContain(offset, length);
    const view: BlockView = {
      store: this.#store,
      blockSizeBytes: this.blockSizeBytes,
      parent: this.#parent,
      blockAt: (block) => {
        this.#cache.trim();
        this.find(block);
        return { state: this.#state, fileOffset: this.#fileOffset };
      },
      emptyRun: (block, count) => this.#table.emptyRun(block, count),
      bitRun: (block, at, count) => this.#bitRun(block, at, count),
    };
    return joinSegments(blockSegments(view, offset, length, depth));
  }

  /** Looks up a payload block's entry; the answer is in `state` and `fileOffset`, so that nothing is allocated. */
  find(block: number): void {
    const index = this.#table.payloadIndex(block);
    const page = this.#table.pageOf(index);
    this.#state = stateIn(page, index);
    this.#fileOffset = offsetIn(page, index);
  }

  /** Visits the blocks of a range, each looked up before. */
  forEachBlock(
    offset: number,
    length: number,
    visit: (block: number, at: number, count: number, isWhole: boolean) => void,
  ): void {
    const end = offset + length;
    for (let at = offset; at < end; ) {
      const block = Math.floor(at / this.blockSizeBytes);
      const inBlock = at - block * this.blockSizeBytes;
      const count = Math.min(end - at, this.blockSizeBytes - inBlock);
      this.#cache.trim();
      this.find(block);
      visit(block, at, count, inBlock === 0 && count === this.bytesOf(block));
      at += count;
    }
  }

  /** The bytes of the disk that a block holds: the last one may be shorter. */
  bytesOf(block: number): number {
    return Math.min(this.blockSizeBytes, this.#sizeBytes - block * this.blockSizeBytes);
  }

  /** @throws HvError `invalid-argument` */
  mustContain(offset: number, length: number): void {
    if (offset >= 0 && length >= 0 && offset + length <= this.#sizeBytes) return;
    throw new HvError('invalid-argument', `the range is outside of the disk ${this.#store.name}`, {
      detail: { path: this.#store.name, offset, length, sizeBytes: this.sizeBytes },
    });
  }

  #readParent(offset: number, target: Uint8Array, targetStart: number, length: number): void {
    const parent = this.#parent;
    if (!parent) {
      if (this.#hasParent) {
        throw new HvError('invalid-state', `${this.#store.name} was opened without its parent`, {
          detail: { path: this.#store.name },
        });
      }
      target.fill(0, targetStart, targetStart + length);
      return;
    }
    const inParent = Math.max(0, Math.min(length, parent.sizeBytes - offset));
    if (inParent > 0) parent.read(offset, target, targetStart, inParent);
    if (inParent < length) target.fill(0, targetStart + inParent, targetStart + length);
  }

  #readPartial(
    block: number,
    offset: number,
    inBlock: number,
    target: Uint8Array,
    targetStart: number,
    length: number,
  ): void {
    const fileOffset = this.#fileOffset;
    for (let done = 0; done < length; ) {
      const run = this.#bitRun(block, offset + done, length - done);
      const count = Math.min(Math.abs(run), length - done);
      if (run > 0) this.#store.read(fileOffset + inBlock + done, target, targetStart + done, count);
      else this.#readParent(offset + done, target, targetStart + done, count);
      done += count;
    }
  }

  /** How many bytes from `offset` on are present here (positive) or in the parent (negative); looks at `length` at most. */
  #bitRun(block: number, offset: number, length: number): number {
    const bitmapOffset = this.#table.bitmapOffset(block);
    const inChunk = offset % this.#chunkBytes;
    const firstSector = Math.floor(inChunk / this.sectorSizeBytes);
    const sectors = Math.ceil((inChunk + length) / this.sectorSizeBytes) - firstSector;
    const run = readBitRun(this.#cache, bitmapOffset, firstSector, sectors);
    const bytes = Math.abs(run) * this.sectorSizeBytes - (inChunk - firstSector * this.sectorSizeBytes);
    return run > 0 ? bytes : -bytes;
  }
}
