import type { ByteStore } from '../../store/index.ts';
import { corrupt } from './corruption.ts';
import { type DynamicHeader, tableBytesOf } from './dynamic-header.ts';
import { BAT_ENTRY_BYTES, FOOTER_BYTES, HEADER_BYTES, SECTOR, UNUSED_ENTRY } from './format.ts';

/** A range of the file. */
export interface FileSpan {
  readonly fileOffset: number;
  readonly length: number;
}

/** What lies in the file beside blocks: the footer's copy, the dynamic header, the table, the parent locators. */
export function structuresOf(header: DynamicHeader, locators: 'reserved' | 'used' = 'reserved'): FileSpan[] {
  return [
    { fileOffset: 0, length: FOOTER_BYTES },
    { fileOffset: header.fileOffset, length: HEADER_BYTES },
    { fileOffset: header.tableOffset, length: tableBytesOf(header.tableEntries) },
    ...header.locators.map(({ fileOffset, spaceBytes, length }) => ({
      fileOffset,
      length: locators === 'reserved' ? spaceBytes : length,
    })),
  ];
}

/** The entries of a table as they lie in the file. The header's checks have bounded their number. @throws HvError `io` */
export function readTable(store: ByteStore, header: DynamicHeader): Uint32Array {
  const bytes = Buffer.alloc(header.tableEntries * BAT_ENTRY_BYTES);
  store.read(header.tableOffset, bytes, 0, bytes.length);
  bytes.swap32();
  return new Uint32Array(bytes.buffer, bytes.byteOffset, header.tableEntries);
}

/** The block allocation table, held in memory whole; every change goes to the file at once. */
export class BlockTable {
  /** What a block takes in the file: its sector bitmap and its payload. */
  readonly strideBytes: number;
  readonly #store: ByteStore;
  readonly #header: DynamicHeader;
  readonly #entries: Uint32Array;
  readonly #structuresEnd: number;

  /** Reads and checks the table. @throws HvError `corrupt`, `io` */
  constructor(store: ByteStore, header: DynamicHeader, sizeBytes: number) {
    this.#store = store;
    this.#header = header;
    this.strideBytes = header.bitmapBytes + header.blockSizeBytes;
    this.#entries = readTable(store, header);
    this.#structuresEnd = Math.max(...structuresOf(header).map(({ fileOffset, length }) => fileOffset + length));
    this.#check(sizeBytes);
  }

  /** Where a block's sector bitmap lies; -1 where the block has no space. */
  offsetOf(block: number): number {
    const entry = this.#entries[block] ?? UNUSED_ENTRY;
    return entry === UNUSED_ENTRY ? -1 : entry * SECTOR;
  }

  /** How many blocks from this one on have no space, `limit` at most. */
  unusedRun(block: number, limit: number): number {
    const end = Math.min(block + limit, this.#entries.length);
    let at = block;
    while (at < end && this.#entries[at] === UNUSED_ENTRY) at++;
    return at - block;
  }

  /** @throws HvError `io`, `no-space`; then the table in memory is as before */
  set(block: number, fileOffset: number): void {
    this.#put(block, fileOffset / SECTOR);
  }

  /** @throws HvError `io`; then the table in memory is as before */
  clear(block: number): void {
    this.#put(block, UNUSED_ENTRY);
  }

  /** The blocks that have space, in the disk's order. */
  *used(): Generator<number> {
    for (let block = 0; block < this.#entries.length; block++) if (this.#entries[block] !== UNUSED_ENTRY) yield block;
  }

  get length(): number {
    return this.#entries.length;
  }

  /** How many blocks have space. */
  countUsed(): number {
    return this.#sorted().length;
  }

  /** Everything that the file holds ends before this, but its trailing footer. */
  endOffset(): number {
    const entries = this.#entries;
    let last = -1;
    for (let block = 0; block < entries.length; block++) {
      const entry = entries[block] as number; // the index is in range
      if (entry !== UNUSED_ENTRY && entry > last) last = entry;
    }
    return Math.max(this.#structuresEnd, last === -1 ? 0 : last * SECTOR + this.strideBytes);
  }

  /** How much of the file before its end belongs to nothing. */
  gapBytes(): number {
    const structures = structuresOf(this.#header).reduce((sum, { length }) => sum + length, 0);
    return this.endOffset() - structures - this.countUsed() * this.strideBytes;
  }

  /** The ranges between 0 and the end that belong to nothing, in order. */
  *gaps(): Generator<FileSpan> {
    const structures = structuresOf(this.#header).sort((a, b) => a.fileOffset - b.fileOffset);
    const blocks = this.#sorted();
    let end = 0;
    for (let block = 0, structure = 0; block < blocks.length || structure < structures.length; ) {
      const blockAt = (blocks[block] ?? Number.POSITIVE_INFINITY) * SECTOR;
      const next = structures[structure];
      const isBlock = next === undefined || blockAt < next.fileOffset;
      const start = isBlock ? blockAt : next.fileOffset;
      if (start > end) yield { fileOffset: end, length: start - end };
      end = Math.max(end, start + (isBlock ? this.strideBytes : next.length));
      if (isBlock) block++;
      else structure++;
    }
  }

  /** The entries in use, in the file's order. A table may have millions, so nothing is called for each. */
  #sorted(): Uint32Array {
    const used = Uint32Array.from(this.#entries);
    let count = 0;
    for (let block = 0; block < used.length; block++) {
      const entry = used[block] as number; // the index is in range
      if (entry !== UNUSED_ENTRY) used[count++] = entry;
    }
    return used.slice(0, count).sort();
  }

  #put(block: number, entry: number): void {
    const bytes = new Uint8Array(BAT_ENTRY_BYTES);
    new DataView(bytes.buffer).setUint32(0, entry);
    this.#store.write(this.#header.tableOffset + block * BAT_ENTRY_BYTES, bytes, 0, BAT_ENTRY_BYTES);
    this.#entries[block] = entry;
  }

  #check(sizeBytes: number): void {
    const { bitmapBytes, blockSizeBytes, tableOffset } = this.#header;
    const fileSize = this.#store.size();
    const lastBlock = Math.ceil(sizeBytes / blockSizeBytes) - 1;
    // What is kept free for a locator is a claim only: files exist in which it is too large.
    const structures = structuresOf(this.#header, 'used');
    const usedEnd = Math.max(...structures.map((other) => other.fileOffset + other.length));
    const fail = (reason: 'bat-entry-offset' | 'bat-entry-beyond-end' | 'bat-entry-overlap', entry: number): never => {
      const block = this.#entries.indexOf(entry);
      throw corrupt(this.#store.name, reason, tableOffset + block * BAT_ENTRY_BYTES, entry);
    };
    // The disk's last block may be cut off where the disk ends.
    const lastEntry = this.#entries[lastBlock] ?? UNUSED_ENTRY;
    const lastBytes = bitmapBytes + sizeBytes - lastBlock * blockSizeBytes;
    let end = 0;
    for (const entry of this.#sorted()) {
      const start = entry * SECTOR;
      const length = entry === lastEntry ? lastBytes : this.strideBytes;
      if (start < end) fail('bat-entry-overlap', entry);
      end = start + length;
      if (end > fileSize) fail('bat-entry-beyond-end', entry);
      if (
        start < usedEnd &&
        structures.some((other) => start < other.fileOffset + other.length && other.fileOffset < end)
      ) {
        fail('bat-entry-offset', entry);
      }
    }
  }
}
