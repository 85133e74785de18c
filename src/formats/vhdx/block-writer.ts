import type { ByteStore } from '../../store/index.ts';
import type { BlockReader } from './block-reader.ts';
import { BlockTable, offsetIn, setEntryIn, stateIn } from './block-table.ts';
import type { ChangeNotes } from './change-notes.ts';
import { BITMAP, BITMAP_BLOCK_BYTES, MIB, PAYLOAD } from './format.ts';
import type { Journal } from './journal.ts';
import type { VhdxMetadata } from './metadata.ts';
import type { MetadataCache, MetadataPage } from './metadata-cache.ts';
import { clearBits, countBitPages, readBitRun, setBits } from './sector-bitmap.ts';
import type { SpaceAllocator } from './space.ts';

const ZEROS = new Uint8Array(MIB);
/** A shorter range is written as zeros rather than punched: a hole would cost more than it gives back. */
const MIN_HOLE_BYTES = 64 * 1024;

/** What of an open image is written to. */
export interface WriterParts {
  readonly store: ByteStore;
  readonly cache: MetadataCache;
  readonly space: SpaceAllocator;
  readonly journal: Journal;
  readonly notes: ChangeNotes;
  readonly metadata: VhdxMetadata;
  /** Something was put into the log. */
  logged(): void;
}

/** Changes the payload blocks of an open image: their bytes, their entries, their bitmaps. Ranges lie in the disk. */
export class BlockWriter {
  readonly #blocks: BlockReader;
  readonly #store: ByteStore;
  readonly #cache: MetadataCache;
  readonly #space: SpaceAllocator;
  readonly #journal: Journal;
  readonly #notes: ChangeNotes;
  readonly #logged: () => void;
  readonly #blockSize: number;
  readonly #sectorSize: number;
  readonly #hasParent: boolean;
  readonly #leaveBlockAllocated: boolean;

  constructor(blocks: BlockReader, parts: WriterParts) {
    this.#blocks = blocks;
    this.#store = parts.store;
    this.#cache = parts.cache;
    this.#space = parts.space;
    this.#journal = parts.journal;
    this.#notes = parts.notes;
    this.#logged = parts.logged;
    this.#blockSize = blocks.blockSizeBytes;
    this.#sectorSize = blocks.sectorSizeBytes;
    this.#hasParent = parts.metadata.hasParent;
    this.#leaveBlockAllocated = parts.metadata.leaveBlockAllocated;
  }

  /** @throws HvError `io`, `no-space`, `corrupt` */
  write(offset: number, source: Uint8Array, sourceStart: number, length: number): void {
    this.#journal.beforeDataChange();
    this.#notes.before(offset, length);
    this.#cache.trim();
    const blockSize = this.#blockSize;
    let at = offset;
    let sourceAt = sourceStart;
    let left = length;
    while (left > 0) {
      const block = Math.floor(at / blockSize);
      const inBlock = at - block * blockSize;
      const count = Math.min(left, blockSize - inBlock);
      this.#blocks.find(block);
      if (this.#blocks.state === PAYLOAD.full)
        this.#store.write(this.#blocks.fileOffset + inBlock, source, sourceAt, count);
      else if (this.#hasParent) this.#writeOverParent(block, at, inBlock, source, sourceAt, count);
      else this.#writeNewBlock(block, inBlock, source, sourceAt, count);
      at += count;
      sourceAt += count;
      left -= count;
    }
  }

  /** The range reads as zero afterwards. Whole blocks lose their space when `mayUnmap` says so and the disk is not fixed. */
  writeZeroes(offset: number, length: number, mayUnmap: boolean): void {
    this.#journal.beforeDataChange();
    this.#blocks.forEachBlock(offset, length, (block, at, count, isWhole) => {
      const state = this.#blocks.state;
      const readsZero = state === PAYLOAD.zero || (state === PAYLOAD.notPresent && !this.#hasParent);
      if (readsZero) return;
      this.#notes.before(at, count);
      const isPresent = state === PAYLOAD.full || state === PAYLOAD.partial;
      const mayFree = mayUnmap && !this.#leaveBlockAllocated;
      if (isWhole && (!isPresent || mayFree)) {
        this.dropBlock(block, PAYLOAD.zero);
      } else if (state === PAYLOAD.full && mayFree && count >= MIN_HOLE_BYTES) {
        this.#store.punchHole(this.#blocks.fileOffset + (at % this.#blockSize), count);
      } else if (isPresent || state === PAYLOAD.notPresent) {
        for (let done = 0; done < count; done += ZEROS.length) {
          this.write(at + done, ZEROS, 0, Math.min(ZEROS.length, count - done));
        }
      }
    });
  }

  /** Whole blocks become unmapped and read as zero; parts of blocks stay as they are. A fixed disk ignores it. */
  trim(offset: number, length: number): void {
    if (this.#leaveBlockAllocated) return;
    this.#blocks.forEachBlock(offset, length, (block, at, count, isWhole) => {
      if (!isWhole || (this.#blocks.state !== PAYLOAD.full && this.#blocks.state !== PAYLOAD.partial)) return;
      this.#journal.beforeDataChange();
      this.#notes.before(at, count);
      this.#blocks.find(block);
      this.dropBlock(block, PAYLOAD.unmapped);
    });
  }

  /**
   * Clears what the disk's last block holds behind the disk's end: a larger disk shows it.
   * @param hidesParent whether sectors that would show a larger parent's are to hide it
   */
  clearBehindEnd(hidesParent: boolean): void {
    const blockSize = this.#blockSize;
    const block = Math.floor(this.#blocks.sizeBytes / blockSize);
    const inBlock = this.#blocks.sizeBytes % blockSize;
    if (inBlock === 0) return;
    const start = this.#blocks.sizeBytes;
    this.#blocks.find(block);
    const { state } = this.#blocks;
    if (state === PAYLOAD.notPresent || state === PAYLOAD.partial) {
      const mayShow = this.#hasParent && (this.#blocks.parent?.sizeBytes ?? Number.POSITIVE_INFINITY) > start;
      if (state === PAYLOAD.notPresent && !(mayShow && hidesParent)) return;
    } else if (state !== PAYLOAD.full) {
      return;
    }
    // The file may end where the disk does; what is written there, and what a larger disk holds, needs the whole block.
    if (this.#store.size() < this.#space.endOffset) this.#store.setSize(this.#space.endOffset);
    const isFull = state === PAYLOAD.full;
    for (let at = inBlock; at < blockSize; at += ZEROS.length) {
      const count = Math.min(ZEROS.length, blockSize - at);
      this.#blocks.find(block);
      if (isFull || !hidesParent) this.#store.write(this.#blocks.fileOffset + at, ZEROS, 0, count);
      else this.#writeSectors(block, start - inBlock + at, at, ZEROS, 0, count);
    }
  }

  /** A block that is wholly in this file from now on; what is not written of it reads as zero. */
  #writeNewBlock(block: number, inBlock: number, source: Uint8Array, sourceStart: number, length: number): void {
    this.#journal.makeRoom(1);
    const fileOffset = this.#space.allocate(this.#blockSize);
    try {
      this.#store.write(fileOffset + inBlock, source, sourceStart, length);
      this.#changeEntry(block, PAYLOAD.full, fileOffset);
    } catch (error) {
      this.#space.free(fileOffset, this.#blockSize, 0);
      throw error;
    }
  }

  /** Points a block's entry elsewhere, logs it, and gives back the space that it had. Room in the log was made before. */
  #changeEntry(block: number, state: number, fileOffset: number): void {
    const index = this.#blocks.table.payloadIndex(block);
    const page = this.#blocks.table.pageOf(index);
    const oldState = stateIn(page, index);
    const oldOffset = offsetIn(page, index);
    setEntryIn(page, index, state, fileOffset);
    let sequence: number;
    try {
      sequence = this.#journal.commit([page]);
    } catch (error) {
      setEntryIn(page, index, oldState, oldOffset);
      throw error;
    }
    if (BlockTable.ownsSpace(oldState) && oldOffset !== 0 && oldOffset !== fileOffset)
      this.#space.free(oldOffset, this.#blockSize, sequence);
    this.#logged();
  }

  /** Gives back a block's space; `state` says what it reads as from here on. */
  dropBlock(block: number, state: number): void {
    this.#journal.makeRoom(1);
    this.#changeEntry(block, state, 0);
  }

  /** A write into a block that is not wholly in this file. */
  #writeOverParent(
    block: number,
    offset: number,
    inBlock: number,
    source: Uint8Array,
    sourceStart: number,
    length: number,
  ): void {
    const { state } = this.#blocks;
    const isZero = state !== PAYLOAD.notPresent && state !== PAYLOAD.partial;
    if (isZero || (length === this.#blocks.bytesOf(block) && state === PAYLOAD.notPresent)) {
      this.#writeNewBlock(block, inBlock, source, sourceStart, length);
      return;
    }
    const sector = this.#sectorSize;
    const before = offset % sector;
    const after = (sector - ((offset + length) % sector)) % sector;
    if (before === 0 && after === 0) {
      this.#writeSectors(block, offset, inBlock, source, sourceStart, length);
      return;
    }
    // The bitmap knows whole sectors only: what surrounds the write comes along.
    const widened = new Uint8Array(before + length + after);
    this.#blocks.read(offset - before, widened, 0, before);
    this.#blocks.read(offset + length, widened, before + length, after);
    widened.set(source.subarray(sourceStart, sourceStart + length), before);
    this.#blocks.find(block);
    if (this.#blocks.state === PAYLOAD.full)
      this.#store.write(this.#blocks.fileOffset + inBlock, source, sourceStart, length);
    else this.#writeSectors(block, offset - before, inBlock - before, widened, 0, widened.length);
  }

  #writeSectors(
    block: number,
    offset: number,
    inBlock: number,
    source: Uint8Array,
    sourceStart: number,
    length: number,
  ): void {
    const firstSector = (offset % this.#blocks.chunkBytes) / this.#sectorSize;
    const sectors = length / this.#sectorSize;
    if (this.#blocks.state === PAYLOAD.notPresent) {
      this.#writePartialBlock(block, inBlock, firstSector, source, sourceStart, length);
      return;
    }
    const fileOffset = this.#blocks.fileOffset;
    const bitmapOffset = this.#blocks.table.bitmapOffset(block);
    if (readBitRun(this.#cache, bitmapOffset, firstSector, sectors) === sectors) {
      this.#store.write(fileOffset + inBlock, source, sourceStart, length);
      return;
    }
    this.#journal.makeRoom(countBitPages(firstSector, sectors) + 1);
    this.#store.write(fileOffset + inBlock, source, sourceStart, length);
    const change = setBits(this.#cache, bitmapOffset, firstSector, sectors);
    try {
      this.#journal.commit(change.pages);
    } catch (error) {
      change.undo();
      throw error;
    }
    this.#logged();
  }

  /** The first sectors of a block that is the parent's so far: space for it, space for its bitmap where there is none. */
  #writePartialBlock(
    block: number,
    inBlock: number,
    firstSector: number,
    source: Uint8Array,
    sourceStart: number,
    length: number,
  ): void {
    const blockSectors = this.#blockSize / this.#sectorSize;
    const blockFirstSector = firstSector - inBlock / this.#sectorSize;
    this.#journal.makeRoom(countBitPages(blockFirstSector, blockSectors) + 2);
    const payloadIndex = this.#blocks.table.payloadIndex(block);
    const bitmapIndex = this.#blocks.table.bitmapIndex(block);
    const hasBitmap = stateIn(this.#blocks.table.pageOf(bitmapIndex), bitmapIndex) === BITMAP.present;
    let bitmapOffset = hasBitmap ? offsetIn(this.#blocks.table.pageOf(bitmapIndex), bitmapIndex) : 0;
    const undo: (() => void)[] = [];
    try {
      const fileOffset = this.#space.allocate(this.#blockSize);
      undo.push(() => this.#space.free(fileOffset, this.#blockSize, 0));
      if (!hasBitmap) {
        bitmapOffset = this.#space.allocate(BITMAP_BLOCK_BYTES);
        undo.push(() => this.#space.free(bitmapOffset, BITMAP_BLOCK_BYTES, 0));
      }
      this.#store.write(fileOffset + inBlock, source, sourceStart, length);
      const pages = new Set<MetadataPage>();
      // Bits of the block's earlier lives must not come back.
      if (hasBitmap) {
        const cleared = clearBits(this.#cache, bitmapOffset, blockFirstSector, blockSectors);
        undo.push(cleared.undo);
        for (const page of cleared.pages) pages.add(page);
      }
      const set = setBits(this.#cache, bitmapOffset, firstSector, length / this.#sectorSize);
      undo.push(set.undo);
      for (const page of set.pages) pages.add(page);
      this.#setEntry(payloadIndex, PAYLOAD.partial, fileOffset, pages, undo);
      if (!hasBitmap) this.#setEntry(bitmapIndex, BITMAP.present, bitmapOffset, pages, undo);
      this.#journal.commit([...pages]);
    } catch (error) {
      for (const step of undo.reverse()) step();
      throw error;
    }
    this.#logged();
  }

  #setEntry(index: number, state: number, fileOffset: number, pages: Set<MetadataPage>, undo: (() => void)[]): void {
    const page = this.#blocks.table.pageOf(index);
    const oldState = stateIn(page, index);
    const oldOffset = offsetIn(page, index);
    setEntryIn(page, index, state, fileOffset);
    undo.push(() => setEntryIn(page, index, oldState, oldOffset));
    pages.add(page);
  }
}
