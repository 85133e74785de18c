import type { ByteStore } from '../../store/index.ts';
import type { LoggedSector } from './log-writer.ts';

export const PAGE_BYTES = 4096;
/** 16 MiB of metadata in memory: the table of 4 TiB in blocks of 2 MiB. Dirty pages are bounded by the log's size. */
const MAX_PAGES = 4096;

/** 4 KiB of the file's metadata in memory. `words` sees the same bytes; hosts of Node are little-endian. */
export class MetadataPage implements LoggedSector {
  readonly fileOffset: number;
  readonly words = new Uint32Array(PAGE_BYTES / 4);
  readonly bytes = new Uint8Array(this.words.buffer);
  /** The first and the last log entry that carry what its place in the file lacks; 0: its place is up to date. */
  firstSequence = 0;
  lastSequence = 0;

  constructor(fileOffset: number) {
    this.fileOffset = fileOffset;
  }
}

/** Pages of the block allocation table and the sector bitmaps, read when needed, written in place when their log entry is durable. */
export class MetadataCache {
  readonly #store: ByteStore;
  readonly #pages = new Map<number, MetadataPage>();
  readonly #dirty = new Set<MetadataPage>();
  #recent: MetadataPage = new MetadataPage(-1);

  constructor(store: ByteStore) {
    this.#store = store;
  }

  /** The page at a file offset that is a multiple of 4 KiB. Valid until the next trim(), unless it is dirty. */
  page(fileOffset: number): MetadataPage {
    if (this.#recent.fileOffset === fileOffset) return this.#recent;
    const page = this.#pages.get(fileOffset / PAGE_BYTES) ?? this.#load(fileOffset);
    this.#recent = page;
    return page;
  }

  /** Reads whole pages as they are now, changed ones included, without keeping them. */
  readThrough(fileOffset: number, target: Uint8Array, length: number): void {
    this.#store.read(fileOffset, target, 0, length);
    for (const page of this.#dirty) {
      const at = page.fileOffset - fileOffset;
      if (at >= 0 && at < length) target.set(page.bytes, at);
    }
  }

  /** Keeps the cache bounded. Called between operations only: pages that one of them holds must stay the only copies. */
  trim(): void {
    if (this.#pages.size > MAX_PAGES) this.#forgetSome();
  }

  /** The file's bytes from `start` to `end` were written by another way, or are no metadata any more: no page of them is dirty. */
  forget(start: number, end: number): void {
    for (const [key, page] of this.#pages) {
      if (page.fileOffset >= start && page.fileOffset < end) this.#pages.delete(key);
    }
    if (this.#recent.fileOffset >= start && this.#recent.fileOffset < end) this.#recent = new MetadataPage(-1);
  }

  /** The page was changed in memory, and log entry `sequence` carries it. */
  markLogged(page: MetadataPage, sequence: number): void {
    if (page.firstSequence === 0) page.firstSequence = sequence;
    page.lastSequence = sequence;
    this.#dirty.add(page);
  }

  /** The oldest entry that carries something that is not in its place; undefined when everything is. */
  oldestNeeded(): number | undefined {
    let oldest: number | undefined;
    for (const page of this.#dirty)
      if (oldest === undefined || page.firstSequence < oldest) oldest = page.firstSequence;
    return oldest;
  }

  /** Writes in place every page whose newest log entry is durable. @throws HvError `io`, `no-space` */
  applyUpTo(durableSequence: number): void {
    for (const page of this.#dirty) {
      if (page.lastSequence > durableSequence) continue;
      this.#store.write(page.fileOffset, page.bytes, 0, PAGE_BYTES);
      page.firstSequence = 0;
      page.lastSequence = 0;
      this.#dirty.delete(page);
    }
  }

  #load(fileOffset: number): MetadataPage {
    const page = new MetadataPage(fileOffset);
    this.#store.read(fileOffset, page.bytes, 0, PAGE_BYTES);
    this.#pages.set(fileOffset / PAGE_BYTES, page);
    return page;
  }

  #forgetSome(): void {
    for (const [key, page] of this.#pages) {
      if (page.lastSequence === 0 && page !== this.#recent) this.#pages.delete(key);
      if (this.#pages.size <= MAX_PAGES / 2) return;
    }
  }
}
