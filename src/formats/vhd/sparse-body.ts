import { roundDown, roundUp } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import type { HeldBlock, ParentDisk, Segment } from '../disk-image.ts';
import { BlockTable, type FileSpan } from './block-table.ts';
import { copyRange } from './copy-range.ts';
import type { DynamicHeader } from './dynamic-header.ts';
import { SECTOR } from './format.ts';
import { GRAIN_BYTES, OldContents } from './old-contents.ts';
import { BitmapCache, readBitRun, setBits } from './sector-bitmap.ts';
import { SpaceAllocator } from './space.ts';
import { MIN_HOLE_BYTES, type VhdBody, ZEROS } from './vhd-body.ts';

export interface SparseBodyOptions {
  readonly hasParent: boolean;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** The bytes of the trailing footer, which moves when the file grows. */
  readonly footer: () => Uint8Array;
  readonly inBackground: boolean;
}

/**
 * A dynamic or differencing disk: blocks that lie anywhere in the file, each behind a bitmap of its sectors.
 * Of a dynamic disk a new block's bits are all set, as Windows and QEMU do it, so that a write into a block that is there
 * is one write of the file. Above a parent a bit says whose the sector is, and there is no way to say "zero" but zeros.
 */
export class SparseBody implements VhdBody {
  readonly blockSizeBytes: number;
  readonly #table: BlockTable;
  readonly #store: ByteStore;
  readonly #sizeBytes: number;
  readonly #bitmapBytes: number;
  readonly #hasParent: boolean;
  readonly #bitmaps: BitmapCache;
  readonly #options: SparseBodyOptions;
  #space: SpaceAllocator | undefined;
  readonly #old: OldContents;
  #parent: ParentDisk | undefined;

  /** @throws HvError `corrupt`, `io` */
  constructor(store: ByteStore, header: DynamicHeader, options: SparseBodyOptions) {
    this.#store = store;
    this.#sizeBytes = options.sizeBytes;
    this.#hasParent = options.hasParent;
    this.#bitmapBytes = header.bitmapBytes;
    this.blockSizeBytes = header.blockSizeBytes;
    this.#table = new BlockTable(store, header, options.sizeBytes);
    this.#bitmaps = new BitmapCache(store, this.#table, header.bitmapBytes, (block) => this.#bytesOf(block) / SECTOR);
    this.#old = new OldContents(header.blockSizeBytes);
    this.#options = options;
    if (!options.readOnly) this.#space = this.#newSpace();
  }

  #newSpace(): SpaceAllocator {
    const { footer, sizeBytes, hasParent, inBackground } = this.#options;
    return new SpaceAllocator(this.#store, this.#table, footer, {
      bitmapBytes: this.#bitmapBytes,
      blockCount: Math.ceil(sizeBytes / this.blockSizeBytes),
      bitmapFill: hasParent ? 0 : 0xff,
      inBackground,
    });
  }

  /** Everything in the file but the trailing footer ends before this. */
  get endOffset(): number {
    return this.#table.endOffset();
  }

  /** The ranges of the file before its end that belong to nothing. */
  gaps(): Generator<FileSpan> {
    return this.#table.gaps();
  }

  setParent(parent: ParentDisk): void {
    this.#parent = parent;
  }

  read(offset: number, target: Uint8Array, targetStart: number, length: number): void {
    const blockSize = this.blockSizeBytes;
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const block = Math.floor(at / blockSize);
      const inBlock = at - block * blockSize;
      const count = Math.min(length - done, blockSize - inBlock);
      const place = this.#table.offsetOf(block);
      if (place === -1) this.#readUnder(at, target, targetStart + done, count);
      else if (this.#bitmaps.isFull(block)) {
        this.#store.read(place + this.#bitmapBytes + inBlock, target, targetStart + done, count);
      } else this.#readPartial(block, place, at, inBlock, target, targetStart + done, count);
      done += count;
    }
  }

  write(offset: number, source: Uint8Array, sourceStart: number, length: number): void {
    const blockSize = this.blockSizeBytes;
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const block = Math.floor(at / blockSize);
      const inBlock = at - block * blockSize;
      const count = Math.min(length - done, blockSize - inBlock);
      const place = this.#table.offsetOf(block);
      if (place !== -1 && this.#bitmaps.isFull(block)) {
        this.#store.write(place + this.#bitmapBytes + inBlock, source, sourceStart + done, count);
      } else if (this.#hasParent) {
        this.#writeOverParent(block, inBlock, source, sourceStart + done, count);
      } else if (place === -1) {
        this.#writeNewBlock(block, inBlock, source, sourceStart + done, count);
      } else {
        this.#complete(block, place);
        this.#store.write(place + this.#bitmapBytes + inBlock, source, sourceStart + done, count);
      }
      done += count;
    }
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): void {
    this.#forEachBlock(offset, length, (block, inBlock, count) => {
      const place = this.#table.offsetOf(block);
      const isWhole = inBlock === 0 && count === this.#bytesOf(block);
      if (this.#hasParent) {
        this.#zeroOverParent(block, place, inBlock, count, isWhole, mayUnmap);
      } else if (place !== -1) {
        if (isWhole && mayUnmap) this.#drop(block, place);
        else {
          if (!this.#bitmaps.isFull(block)) this.#complete(block, place);
          this.#zeroPayload(place + this.#bitmapBytes + inBlock, count, mayUnmap);
        }
      }
    });
  }

  trim(offset: number, length: number): void {
    this.#forEachBlock(offset, length, (block, inBlock, count) => {
      const place = this.#table.offsetOf(block);
      if (place === -1 || inBlock !== 0 || count !== this.#bytesOf(block)) return;
      if (!this.#hasParent || this.#readsZeroUnder(block * this.blockSizeBytes, count)) {
        this.#drop(block, place);
        return;
      }
      // Freed, the block would show the parent again: it stays, but what it holds itself becomes zeros without space.
      for (let done = 0; done < count; ) {
        const run = this.#presentRun(block, done, count - done);
        if (run > 0) this.#store.punchHole(place + this.#bitmapBytes + done, run);
        done += Math.abs(run);
      }
    });
  }

  *segments(offset: number, length: number, depth: number): Generator<Segment> {
    const end = offset + length;
    for (let at = offset; at < end; ) {
      const block = Math.floor(at / this.blockSizeBytes);
      const inBlock = at - block * this.blockSizeBytes;
      const unused = this.#table.unusedRun(block, Math.ceil((end - at + inBlock) / this.blockSizeBytes));
      if (unused > 0) {
        const length = Math.min(end - at, unused * this.blockSizeBytes - inBlock);
        yield* this.#segmentsUnder(at, length, depth, 'hole');
        at += length;
        continue;
      }
      const count = Math.min(end - at, this.blockSizeBytes - inBlock);
      for (let done = 0; done < count; ) {
        // Looked up again each time: the consumer may have done anything in between.
        const place = this.#table.offsetOf(block);
        const run = place === -1 ? done - count : this.#presentRun(block, inBlock + done, count - done);
        const runLength = Math.abs(run);
        const fileOffset = place + this.#bitmapBytes + inBlock + done;
        if (run > 0)
          yield { offset: at + done, length: runLength, kind: 'data', depth, store: this.#store, fileOffset };
        else yield* this.#segmentsUnder(at + done, runLength, depth, 'zero');
        done += runLength;
      }
      at += count;
    }
  }

  *heldBlocks(): Generator<HeldBlock> {
    for (const block of this.#table.used()) {
      const length = this.#bytesOf(block);
      if (length <= 0) continue;
      const kind = this.#hasParent && !this.#bitmaps.isFull(block) ? 'part' : 'whole';
      yield { offset: block * this.blockSizeBytes, length, kind };
    }
  }

  /** Frees a block that reads as zero, where what lies under it does so too. */
  releaseZeroBlock(offset: number): boolean {
    const block = offset / this.blockSizeBytes;
    const place = this.#table.offsetOf(block);
    if (place === -1) return true;
    if (!this.#readsZeroUnder(offset, this.#bytesOf(block))) return false;
    this.#drop(block, place);
    return true;
  }

  /**
   * Moves the file's last blocks into free places before them, `maxBytes` at most, and cuts the file. Copies are durable
   * before an entry points at them, and entries before what they left is used. @returns the bytes that were moved
   */
  reclaimSome(maxBytes: number): number {
    // From here to the end the allocator hands out nothing but the file's end, also when a step fails.
    this.finish();
    const places = this.#newSpace().freePlaces;
    const last = places.length === 0 ? [] : [...this.#table.used()];
    last.sort((a, b) => this.#table.offsetOf(b) - this.#table.offsetOf(a));
    const { strideBytes } = this.#table;
    const moves: { readonly block: number; readonly to: number }[] = [];
    for (const [index, to] of places.entries()) {
      const block = last[index];
      if (block === undefined || this.#table.offsetOf(block) < to || moves.length * strideBytes >= maxBytes) break;
      moves.push({ block, to });
    }
    if (moves.length === 0) {
      this.#space = this.#newSpace();
      return 0;
    }
    for (const { block, to } of moves) {
      this.#store.punchHole(to, strideBytes);
      copyRange(this.#store, this.#table.offsetOf(block), to, strideBytes);
    }
    this.#store.flushSync();
    for (const { block, to } of moves) this.#table.set(block, to);
    this.finish();
    this.#space = this.#newSpace();
    return moves.length * strideBytes;
  }

  /** How much of the file a reclaim could move at most: what it reports progress against. */
  get movableBytes(): number {
    return (this.#space?.freePlaces.length ?? 0) * this.#table.strideBytes;
  }

  flush(): Promise<void> {
    return this.#store.flush();
  }

  flushSync(): void {
    this.#store.flushSync();
  }

  async settle(): Promise<void> {
    await this.#space?.settle();
  }

  finish(): void {
    this.flushSync();
    this.#space?.cut();
  }

  #readUnder(offset: number, target: Uint8Array, targetStart: number, length: number): void {
    const parent = this.#mustHaveParent();
    const inParent = parent ? Math.max(0, Math.min(length, parent.sizeBytes - offset)) : 0;
    if (parent && inParent > 0) parent.read(offset, target, targetStart, inParent);
    if (inParent < length) target.fill(0, targetStart + inParent, targetStart + length);
  }

  #readsZeroUnder(offset: number, length: number): boolean {
    const parent = this.#mustHaveParent();
    const inParent = parent ? Math.max(0, Math.min(length, parent.sizeBytes - offset)) : 0;
    if (!parent || inParent === 0) return true;
    for (const { kind } of parent.segments(offset, inParent, 0)) if (kind === 'data') return false;
    return true;
  }

  *#segmentsUnder(offset: number, length: number, depth: number, own: 'hole' | 'zero'): Generator<Segment> {
    const parent = this.#parent;
    const inParent = parent ? Math.max(0, Math.min(length, parent.sizeBytes - offset)) : 0;
    if (parent && inParent > 0) yield* parent.segments(offset, inParent, depth + 1);
    if (length === inParent) return;
    const kind = this.#hasParent ? 'hole' : own;
    yield { offset: offset + inParent, length: length - inParent, kind, depth, store: undefined, fileOffset: 0 };
  }

  #mustHaveParent(): ParentDisk | undefined {
    if (this.#parent || !this.#hasParent) return this.#parent;
    throw new HvError('invalid-state', `${this.#store.name} was opened without its parent`, {
      detail: { path: this.#store.name },
    });
  }

  #readPartial(
    block: number,
    place: number,
    offset: number,
    inBlock: number,
    target: Uint8Array,
    targetStart: number,
    length: number,
  ): void {
    for (let done = 0; done < length; ) {
      const run = this.#presentRun(block, inBlock + done, length - done);
      const count = Math.abs(run);
      if (run > 0) this.#store.read(place + this.#bitmapBytes + inBlock + done, target, targetStart + done, count);
      else this.#readUnder(offset + done, target, targetStart + done, count);
      done += count;
    }
  }

  /** How many bytes from a place in a present block on are its own (positive) or not (negative), at most `length`. */
  #presentRun(block: number, inBlock: number, length: number): number {
    if (this.#bitmaps.isFull(block)) return length;
    const first = Math.floor(inBlock / SECTOR);
    const sectors = Math.ceil((inBlock + length) / SECTOR) - first;
    const run = readBitRun(this.#bitmaps.of(block), first, sectors);
    const bytes = Math.min(length, Math.abs(run) * SECTOR - (inBlock - first * SECTOR));
    return run > 0 ? bytes : -bytes;
  }

  /** A block of a disk without a parent. What is not written of it reads as zero, as it did before. */
  #writeNewBlock(block: number, inBlock: number, source: Uint8Array, sourceStart: number, length: number): void {
    const space = this.#mustHaveSpace();
    const place = space.take();
    try {
      this.#store.write(place + this.#bitmapBytes + inBlock, source, sourceStart, length);
    } catch (error) {
      space.free(place);
      throw error;
    }
    this.#bitmaps.markFull(block);
    this.#enter(block, place);
  }

  /** Points the block's entry at its place. Where that fails, the place is lost rather than used twice. */
  #enter(block: number, place: number): void {
    try {
      this.#table.set(block, place);
    } catch (error) {
      this.#bitmaps.forget(block);
      this.#old.forget(block);
      throw error;
    }
  }

  #drop(block: number, place: number): void {
    const space = this.#mustHaveSpace();
    this.#table.clear(block);
    this.#bitmaps.forget(block);
    this.#old.forget(block);
    space.free(place);
  }

  /**
   * Sets all bits of a block of a disk without a parent, as others leave them clear where nothing was written. Under a
   * clear bit anything may lie, which must be zeros, durably, before the bit is set.
   */
  #complete(block: number, place: number): void {
    const bytes = this.#bytesOf(block);
    const payload = place + this.#bitmapBytes;
    const buffer = new Uint8Array(Math.min(bytes, ZEROS.length));
    let isChanged = false;
    for (let done = 0; done < bytes; ) {
      const run = this.#presentRun(block, done, Math.min(buffer.length, bytes - done));
      const count = Math.abs(run);
      if (run < 0) {
        this.#store.read(payload + done, buffer, 0, count);
        if (Buffer.compare(buffer.subarray(0, count), ZEROS.subarray(0, count)) !== 0) {
          this.#store.write(payload + done, ZEROS, 0, count);
          isChanged = true;
        }
      }
      done += count;
    }
    if (isChanged) this.#store.flushSync();
    this.#store.write(place, new Uint8Array(this.#bitmapBytes).fill(0xff), 0, this.#bitmapBytes);
    this.#bitmaps.markFull(block);
  }

  #zeroPayload(fileOffset: number, length: number, mayUnmap: boolean): void {
    if (mayUnmap && length >= MIN_HOLE_BYTES) {
      this.#store.punchHole(fileOffset, length);
      return;
    }
    for (let done = 0; done < length; done += ZEROS.length) {
      this.#store.write(fileOffset + done, ZEROS, 0, Math.min(ZEROS.length, length - done));
    }
  }

  #writeOverParent(block: number, inBlock: number, source: Uint8Array, sourceStart: number, length: number): void {
    const before = inBlock % SECTOR;
    const after = (SECTOR - ((inBlock + length) % SECTOR)) % SECTOR;
    if (before === 0 && after === 0) {
      this.#writeSectors(block, inBlock, source, sourceStart, length);
      return;
    }
    // The bitmap knows whole sectors only: what surrounds the write comes along.
    const offset = block * this.blockSizeBytes + inBlock;
    const widened = new Uint8Array(before + length + after);
    this.read(offset - before, widened, 0, before);
    this.read(offset + length, widened, before + length, after);
    widened.set(source.subarray(sourceStart, sourceStart + length), before);
    this.#writeSectors(block, inBlock - before, widened, 0, widened.length);
  }

  #writeSectors(block: number, inBlock: number, source: Uint8Array, sourceStart: number, length: number): void {
    const space = this.#mustHaveSpace();
    const present = this.#table.offsetOf(block);
    const isNew = present === -1;
    if (!isNew && this.#presentRun(block, inBlock, length) === length) {
      this.#store.write(present + this.#bitmapBytes + inBlock, source, sourceStart, length);
      return;
    }
    const place = isNew ? space.take() : present;
    try {
      if (isNew) this.#old.begin(block, true);
      const payload = place + this.#bitmapBytes;
      this.#store.write(payload + inBlock, source, sourceStart, length);
      if (!this.#isSafe(block, inBlock, length)) {
        this.#surround(block, payload, inBlock, length);
        this.#store.flushSync();
        this.#old.markSafe(block, inBlock, length);
      }
      this.#setBits(block, place, isNew, inBlock, length);
    } catch (error) {
      this.#old.forget(block);
      if (isNew) {
        this.#bitmaps.forget(block);
        space.free(place);
      }
      throw error;
    }
    if (isNew) this.#enter(block, place);
  }

  /** Whether a bit that becomes durable before its sector's data would show what the sector read as before. */
  #isSafe(block: number, inBlock: number, length: number): boolean {
    if (this.#old.areSafe(block, inBlock, length)) return true;
    return this.#old.isFresh(block) && this.#readsZeroUnder(block * this.blockSizeBytes + inBlock, length);
  }

  /** Copies what the parent holds around a write into the block, under clear bits: up to the ends of the grains. */
  #surround(block: number, payload: number, inBlock: number, length: number): void {
    const start = roundDown(inBlock, GRAIN_BYTES);
    const end = Math.min(roundUp(inBlock + length, GRAIN_BYTES), this.#bytesOf(block));
    for (const [from, to] of [
      [start, inBlock],
      [inBlock + length, end],
    ] as const) {
      if (from >= to) continue;
      const buffer = new Uint8Array(to - from);
      this.read(block * this.blockSizeBytes + from, buffer, 0, buffer.length);
      this.#store.write(payload + from, buffer, 0, buffer.length);
    }
  }

  #setBits(block: number, place: number, isNew: boolean, inBlock: number, length: number): void {
    const bitmap = isNew ? new Uint8Array(this.#bitmapBytes) : Uint8Array.from(this.#bitmaps.of(block));
    const first = inBlock / SECTOR;
    const count = length / SECTOR;
    setBits(bitmap, first, count);
    const from = first >> 3;
    this.#store.write(place + from, bitmap, from, ((first + count - 1) >> 3) + 1 - from);
    this.#bitmaps.put(block, bitmap);
  }

  #zeroOverParent(
    block: number,
    place: number,
    inBlock: number,
    length: number,
    isWhole: boolean,
    mayUnmap: boolean,
  ): void {
    const offset = block * this.blockSizeBytes + inBlock;
    if ((place === -1 || (isWhole && mayUnmap)) && this.#readsZeroUnder(offset, length)) {
      if (place !== -1) this.#drop(block, place);
      return;
    }
    const start = Math.min(roundUp(inBlock, SECTOR), inBlock + length);
    const end = Math.max(start, roundDown(inBlock + length, SECTOR));
    if (start > inBlock) this.#writeOverParent(block, inBlock, ZEROS, 0, start - inBlock);
    if (end > start) this.#zeroSectors(block, start, end - start, mayUnmap);
    if (inBlock + length > end) this.#writeOverParent(block, end, ZEROS, 0, inBlock + length - end);
  }

  #zeroSectors(block: number, inBlock: number, length: number, mayUnmap: boolean): void {
    const space = this.#mustHaveSpace();
    const present = this.#table.offsetOf(block);
    if (present === -1) {
      // What is handed out is zeros already, durably.
      const place = space.take();
      try {
        this.#setBits(block, place, true, inBlock, length);
      } catch (error) {
        this.#bitmaps.forget(block);
        space.free(place);
        throw error;
      }
      this.#old.begin(block, true);
      this.#enter(block, place);
      return;
    }
    const isPresent = this.#presentRun(block, inBlock, length) === length;
    this.#zeroPayload(present + this.#bitmapBytes + inBlock, length, mayUnmap);
    if (isPresent) return;
    if (!this.#old.areSafe(block, inBlock, length) && !this.#old.isFresh(block)) this.#store.flushSync();
    this.#setBits(block, present, false, inBlock, length);
  }

  #forEachBlock(offset: number, length: number, visit: (block: number, inBlock: number, count: number) => void): void {
    const end = offset + length;
    for (let at = offset; at < end; ) {
      const block = Math.floor(at / this.blockSizeBytes);
      const inBlock = at - block * this.blockSizeBytes;
      const count = Math.min(end - at, this.blockSizeBytes - inBlock);
      visit(block, inBlock, count);
      at += count;
    }
  }

  /** The bytes of the disk that a block holds: the last one may be shorter. */
  #bytesOf(block: number): number {
    return Math.min(this.blockSizeBytes, this.#sizeBytes - block * this.blockSizeBytes);
  }

  #mustHaveSpace(): SpaceAllocator {
    if (this.#space) return this.#space;
    throw new HvError('permission-denied', `${this.#store.name} is open for reading only`, {
      detail: { path: this.#store.name },
    });
  }
}
