import { roundUp } from '../../binary/index.ts';
import { corrupt, type VhdxCorruption } from './corruption.ts';
import {
  BAT_ENTRY_BYTES,
  BITMAP,
  BITMAP_BLOCK_BYTES,
  MIB,
  PAYLOAD,
  SECTORS_PER_BITMAP_BLOCK,
  type VhdxRegion,
} from './format.ts';
import type { VhdxMetadata } from './metadata.ts';
import { type MetadataCache, type MetadataPage, PAGE_BYTES } from './metadata-cache.ts';
import type { Occupancy } from './occupancy.ts';

const ENTRIES_PER_PAGE = PAGE_BYTES / BAT_ENTRY_BYTES;
/** 128 TiB in MiB: 64 TiB of payload with room for everything else; no file is longer. */
const MAX_OFFSET_MIB = 2 ** 27;
/** Tables up to this size are checked when the file is opened: 32 TiB in blocks of 32 MiB. */
const CHECK_AT_OPEN_BYTES = 8 * MIB;

/** How much of the table is read at once where all of it is looked at. */
const READ_BYTES = MIB;
const ZEROS = Buffer.alloc(READ_BYTES);
/** Where a piece is read to that nobody keeps. */
const PIECE = Buffer.alloc(READ_BYTES);

/** An entry that owns space in the file. */
export interface TableOwner {
  readonly index: number;
  readonly state: number;
  readonly fileOffset: number;
  /** The payload block; -1 for a sector bitmap. */
  readonly block: number;
}

/** How many entries lie where (2.5). */
export interface TableGeometry {
  /** Payload blocks to a sector bitmap block. */
  readonly chunkRatio: number;
  readonly payloadBlocks: number;
  readonly entryCount: number;
}

export function tableGeometry(disk: {
  readonly virtualSizeBytes: number;
  readonly blockSizeBytes: number;
  readonly logicalSectorSizeBytes: number;
  readonly hasParent: boolean;
}): TableGeometry {
  const chunkRatio = (SECTORS_PER_BITMAP_BLOCK * disk.logicalSectorSizeBytes) / disk.blockSizeBytes;
  const payloadBlocks = Math.ceil(disk.virtualSizeBytes / disk.blockSizeBytes);
  const entryCount = disk.hasParent
    ? Math.ceil(payloadBlocks / chunkRatio) * (chunkRatio + 1)
    : payloadBlocks + Math.floor((payloadBlocks - 1) / chunkRatio);
  return { chunkRatio, payloadBlocks, entryCount };
}

/**
 * The block allocation table. Read in pages of 4 KiB when needed; each page's entries are checked when it first comes
 * in: states, reserved bits, and that no two things own one place.
 */
export class BlockTable {
  readonly geometry: TableGeometry;
  /** The end of the last structure or block seen so far. */
  readonly endOffset: number;
  readonly #name: string;
  readonly #cache: MetadataCache;
  readonly #occupancy: Occupancy;
  readonly #offset: number;
  readonly #metadata: VhdxMetadata;
  readonly #fileSize: number;
  readonly #pageCount: number;
  readonly #checked: Uint8Array;
  #isFullyChecked: boolean;

  constructor(
    name: string,
    cache: MetadataCache,
    occupancy: Occupancy,
    region: VhdxRegion,
    metadata: VhdxMetadata,
    file: { readonly sizeBytes: number; readonly structuresEnd: number },
    /** The same table before its size or place changed. */
    before?: BlockTable,
  ) {
    this.geometry = tableGeometry(metadata);
    this.#name = name;
    this.#cache = cache;
    this.#occupancy = occupancy;
    this.#offset = region.fileOffset;
    this.#metadata = metadata;
    this.#fileSize = file.sizeBytes;
    const tableBytes = this.geometry.entryCount * BAT_ENTRY_BYTES;
    if (tableBytes > region.length) throw corrupt(name, 'bat-too-short', region.fileOffset, region.length);
    const pageCount = Math.ceil(tableBytes / PAGE_BYTES);
    this.#pageCount = pageCount;
    this.#checked = new Uint8Array(Math.ceil(pageCount / 8));
    if (before) {
      this.#isFullyChecked = before.#isFullyChecked;
      this.endOffset = before.endOffset;
      this.#checked.set(before.#checked.subarray(0, this.#checked.length));
      for (let page = before.#pageCount; page < pageCount; page++) this.#noteChecked(page);
      return;
    }
    this.#isFullyChecked = tableBytes <= CHECK_AT_OPEN_BYTES;
    if (this.#isFullyChecked) for (let page = 0; page < pageCount; page++) this.#pageOf(page * ENTRIES_PER_PAGE);
    // The last block alone may be cut off by the file's end; its whole extent must not be handed out again.
    const last = this.payloadIndex(this.geometry.payloadBlocks - 1);
    const page = this.pageOf(last);
    const lastEnd = BlockTable.ownsSpace(stateIn(page, last)) ? offsetIn(page, last) + metadata.blockSizeBytes : 0;
    this.endOffset = Math.max(roundUp(file.sizeBytes, MIB), file.structuresEnd, lastEnd);
  }

  /**
   * The table of the same disk with another size, or in another place. Pages that it did not have before, and those
   * that new entries joined, hold what the caller wrote: they are sound, and their blocks' space is taken.
   */
  resized(region: VhdxRegion, metadata: VhdxMetadata, fileSizeBytes: number): BlockTable {
    const sizeBytes = Math.max(this.#fileSize, fileSizeBytes);
    const file = { sizeBytes, structuresEnd: this.endOffset };
    return new BlockTable(this.#name, this.#cache, this.#occupancy, region, metadata, file, this);
  }

  /** True once every entry has been checked: then the gaps between blocks are known to be free. */
  get isFullyChecked(): boolean {
    return this.#isFullyChecked;
  }

  /** Checks every entry that has not been looked at yet. Takes time for what is filled. @throws HvError `corrupt`, `io` */
  checkAll(): void {
    if (this.#isFullyChecked) return;
    for (const index of this.filledPages(0)) {
      this.#cache.trim();
      this.#pageOf(index);
    }
    this.#isFullyChecked = true;
  }

  /**
   * The first entries of those pages that hold anything, from the page of `fromIndex` on. The table is read in large
   * pieces, so that the many empty pages of a large disk cost little; pages found empty count as checked.
   */
  *filledPages(fromIndex: number): Generator<number> {
    const bytes = Buffer.alloc(Math.min(READ_BYTES, this.#pageCount * PAGE_BYTES));
    const perPiece = READ_BYTES / PAGE_BYTES;
    for (let first = Math.floor(fromIndex / ENTRIES_PER_PAGE); first < this.#pageCount; first += perPiece) {
      const count = Math.min(perPiece, this.#pageCount - first);
      this.#cache.readThrough(this.#offset + first * PAGE_BYTES, bytes, count * PAGE_BYTES);
      if (isZero(bytes, 0, count * PAGE_BYTES)) {
        for (let page = first; page < first + count; page++) this.#noteChecked(page);
        continue;
      }
      for (let page = 0; page < count; page++) {
        if (isZero(bytes, page * PAGE_BYTES, PAGE_BYTES)) this.#noteChecked(first + page);
        else yield (first + page) * ENTRIES_PER_PAGE;
      }
    }
  }

  /** The entries that own space in the file, in the table's order: payload blocks and sector bitmaps. */
  *owners(): Generator<TableOwner> {
    for (const first of this.filledPages(0)) {
      this.#cache.trim();
      const end = Math.min(first + ENTRIES_PER_PAGE, this.geometry.entryCount);
      for (let index = first; index < end; index++) {
        // Looked up again each time: the consumer may have changed it, and the page may have left the cache.
        const page = this.#pageOf(index);
        if (BlockTable.ownsSpace(stateIn(page, index)) && offsetIn(page, index) !== 0) yield this.ownerAt(index);
      }
    }
  }

  /** What an entry that owns space says. */
  ownerAt(index: number): TableOwner {
    const page = this.#pageOf(index);
    const chunkEntries = this.geometry.chunkRatio + 1;
    const isBitmap = index % chunkEntries === this.geometry.chunkRatio;
    const block = isBitmap ? -1 : index - Math.floor(index / chunkEntries);
    return { index, state: stateIn(page, index), fileOffset: offsetIn(page, index), block };
  }

  /**
   * How many payload blocks from `block` on, at most `limit`, surely have an entry that is all zero: to the end of their
   * page, and in the empty pages that follow it, which are read in large pieces and not kept.
   */
  emptyRun(block: number, limit: number): number {
    const chunkEntries = this.geometry.chunkRatio + 1;
    const first = this.payloadIndex(block);
    const page = this.#pageOf(first);
    const pageEnd = first - (first % ENTRIES_PER_PAGE) + ENTRIES_PER_PAGE;
    let end = first;
    while (end < pageEnd && wordIn(page, end, 0) === 0 && wordIn(page, end, 1) === 0) end++;
    const lastWanted = this.payloadIndex(Math.min(block + limit, this.geometry.payloadBlocks) - 1);
    if (end === pageEnd && lastWanted >= pageEnd) end = this.#endOfEmptyPages(pageEnd, lastWanted + 1);
    const payloadsBefore = (index: number): number => index - Math.floor(index / chunkEntries);
    return Math.min(limit, payloadsBefore(end) - block);
  }

  /** The first entry, from one that begins a page on, whose page holds anything; at most `endIndex`, rounded up to a page. */
  #endOfEmptyPages(firstIndex: number, endIndex: number): number {
    const perPiece = READ_BYTES / PAGE_BYTES;
    const endPage = Math.ceil(endIndex / ENTRIES_PER_PAGE);
    for (let first = firstIndex / ENTRIES_PER_PAGE; first < endPage; first += perPiece) {
      const count = Math.min(perPiece, endPage - first);
      this.#cache.readThrough(this.#offset + first * PAGE_BYTES, PIECE, count * PAGE_BYTES);
      const isEmpty = isZero(PIECE, 0, count * PAGE_BYTES);
      for (let page = 0; page < count; page++) {
        if (!isEmpty && !isZero(PIECE, page * PAGE_BYTES, PAGE_BYTES)) return (first + page) * ENTRIES_PER_PAGE;
        this.#noteChecked(first + page);
      }
    }
    return endPage * ENTRIES_PER_PAGE;
  }

  /** Whether an entry of this state points at space that is its own. */
  static ownsSpace(state: number): boolean {
    return state !== PAYLOAD.notPresent && state !== PAYLOAD.zero;
  }

  /** The index of a payload block's entry: one bitmap entry follows the entries of each chunk. */
  payloadIndex(block: number): number {
    return block + Math.floor(block / this.geometry.chunkRatio);
  }

  /** The index of the entry of the sector bitmap that covers a payload block. */
  bitmapIndex(block: number): number {
    const { chunkRatio } = this.geometry;
    return Math.floor(block / chunkRatio) * (chunkRatio + 1) + chunkRatio;
  }

  /** Where the sector bitmap lies that covers a partly present block. @throws HvError `corrupt` when there is none */
  bitmapOffset(block: number): number {
    const index = this.bitmapIndex(block);
    const page = this.#pageOf(index);
    if (stateIn(page, index) !== BITMAP.present) {
      throw corrupt(this.#name, 'bitmap-missing', this.#offset + index * BAT_ENTRY_BYTES, block);
    }
    return offsetIn(page, index);
  }

  /** The page that holds an entry, checked. @throws HvError `corrupt` */
  pageOf(index: number): MetadataPage {
    return this.#pageOf(index);
  }

  #pageOf(index: number): MetadataPage {
    const number = Math.floor(index / ENTRIES_PER_PAGE);
    const page = this.#cache.page(this.#offset + number * PAGE_BYTES);
    if (((this.#checked[number >> 3] ?? 0) & (1 << (number & 7))) === 0) {
      this.#check(page, number * ENTRIES_PER_PAGE);
      this.#noteChecked(number);
    }
    return page;
  }

  #noteChecked(pageNumber: number): void {
    this.#checked[pageNumber >> 3] = (this.#checked[pageNumber >> 3] ?? 0) | (1 << (pageNumber & 7));
  }

  #check(page: MetadataPage, firstIndex: number): void {
    const { chunkRatio, entryCount } = this.geometry;
    const end = Math.min(firstIndex + ENTRIES_PER_PAGE, entryCount);
    for (let index = firstIndex; index < end; index++) {
      const low = wordIn(page, index, 0);
      const high = wordIn(page, index, 1);
      if (low === 0 && high === 0) continue;
      const fail = (reason: VhdxCorruption): Error =>
        corrupt(this.#name, reason, this.#offset + index * BAT_ENTRY_BYTES, (BigInt(high) << 32n) | BigInt(low));
      if ((low & 0xffff8) !== 0) throw fail('bat-entry-reserved');
      const state = low & 7;
      const isBitmap = index % (chunkRatio + 1) === chunkRatio;
      if (!this.#isValidState(state, isBitmap)) throw fail('bat-entry-state');
      if (!BlockTable.ownsSpace(state)) continue;
      const mib = (low >>> 20) + high * 4096;
      if (mib === 0) {
        // Undefined and unmapped blocks may have given their space back.
        if (state === PAYLOAD.undefined || state === PAYLOAD.unmapped) continue;
        throw fail('bat-entry-offset');
      }
      if (mib > MAX_OFFSET_MIB) throw fail('bat-entry-offset');
      const length = isBitmap ? BITMAP_BLOCK_BYTES : this.#metadata.blockSizeBytes;
      if (mib * MIB + this.#neededBytes(index, isBitmap) > this.#fileSize) throw fail('bat-entry-beyond-end');
      if (!this.#occupancy.take(mib * MIB, length)) throw fail('bat-entry-overlap');
    }
  }

  #isValidState(state: number, isBitmap: boolean): boolean {
    const { hasParent } = this.#metadata;
    if (isBitmap) return state === BITMAP.notPresent || (state === BITMAP.present && hasParent);
    if (state === PAYLOAD.partial) return hasParent;
    return state !== 4 && state !== 5;
  }

  /** The bytes of a block that the file must hold: the disk's last block may be cut off where the disk ends. */
  #neededBytes(index: number, isBitmap: boolean): number {
    if (isBitmap) return BITMAP_BLOCK_BYTES;
    const { chunkRatio } = this.geometry;
    const block = index - Math.floor(index / (chunkRatio + 1));
    const { blockSizeBytes, virtualSizeBytes } = this.#metadata;
    return Math.min(blockSizeBytes, virtualSizeBytes - block * blockSizeBytes);
  }
}

function isZero(bytes: Buffer, start: number, length: number): boolean {
  return bytes.subarray(start, start + length).equals(ZEROS.subarray(0, length));
}

function wordIn(page: MetadataPage, index: number, word: 0 | 1): number {
  return page.words[(index % ENTRIES_PER_PAGE) * 2 + word] as number; // the remainder is in range
}

/** The state of an entry in its page. */
export function stateIn(page: MetadataPage, index: number): number {
  return wordIn(page, index, 0) & 7;
}

/** The file offset of an entry in its page; checked entries fit a number. */
export function offsetIn(page: MetadataPage, index: number): number {
  return ((wordIn(page, index, 0) >>> 20) + wordIn(page, index, 1) * 4096) * MIB;
}

/** Changes an entry in its page; the log does the rest. */
export function setEntryIn(page: MetadataPage, index: number, state: number, fileOffset: number): void {
  const at = (index % ENTRIES_PER_PAGE) * 2;
  const mib = fileOffset / MIB;
  page.words[at] = ((mib % 4096) * 2 ** 20 + state) >>> 0;
  page.words[at + 1] = Math.floor(mib / 4096);
}
