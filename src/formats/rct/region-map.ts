import type { ByteStore } from '../../store/index.ts';
import { MIB, PAGE_BYTES, REGION_MAP_BYTES, REGION_MAP_OFFSET } from './format.ts';

/** A region is marked together with its neighbours: this much of the disk at least. */
const SMALLEST_WINDOW_BYTES = 32 * MIB;
/** Marking may take this share of the time: when it takes more, more is marked at once. */
const SHARE_OF_TIME = 1 / 50;

/**
 * The write-ahead map: before a region changes, its bit is durable. Its cost is one flush for each marking, so windows of
 * regions are marked, and the window grows while markings follow each other quickly and shrinks when they do not.
 */
export class RegionMap {
  readonly #store: ByteStore;
  readonly #bits = new Uint8Array(REGION_MAP_BYTES);
  readonly #smallestWindow: number;
  readonly #now: () => number;
  #window: number;
  #markingMs = 0;
  #lastMarkingEnd = Number.NEGATIVE_INFINITY;
  #isEmpty = true;

  private constructor(store: ByteStore, regionBytes: number, now: () => number) {
    this.#store = store;
    this.#now = now;
    this.#smallestWindow = Math.max(1, SMALLEST_WINDOW_BYTES / regionBytes);
    this.#window = this.#smallestWindow;
  }

  /** @throws HvError `io` */
  static load(store: ByteStore, regionBytes: number, now: () => number = () => performance.now()): RegionMap {
    const map = new RegionMap(store, regionBytes, now);
    store.read(REGION_MAP_OFFSET, map.#bits, 0, REGION_MAP_BYTES);
    map.#isEmpty = map.#bits.every((byte) => byte === 0);
    return map;
  }

  get isEmpty(): boolean {
    return this.#isEmpty;
  }

  has(region: number): boolean {
    return ((this.#bits[region >> 3] as number) & (1 << (region & 7))) !== 0; // regions are in range
  }

  /** Marks regions durably, and some around them. @param last the last region to be marked, not behind it */
  mark(first: number, last: number): void {
    this.#chooseWindow();
    const window = this.#window;
    const from = Math.floor(first / window) * window;
    const to = Math.min((Math.floor(last / window) + 1) * window, REGION_MAP_BYTES * 8);
    for (let region = from; region < to; region++) {
      this.#bits[region >> 3] = (this.#bits[region >> 3] as number) | (1 << (region & 7)); // in range
    }
    this.#isEmpty = false;
    const startedAt = this.#now();
    try {
      this.#write(from >> 3, ((to - 1) >> 3) + 1);
      this.#store.flushSync();
    } finally {
      this.#markingMs = this.#now() - startedAt;
      this.#lastMarkingEnd = this.#now();
    }
  }

  /** All bits off, in memory and in the file; a bit that comes back after a power cut only says too much. */
  clear(): void {
    if (this.isEmpty) return;
    this.#bits.fill(0);
    this.#store.write(REGION_MAP_OFFSET, this.#bits, 0, REGION_MAP_BYTES);
    this.#isEmpty = true;
  }

  #chooseWindow(): void {
    const allowedGapMs = this.#markingMs / SHARE_OF_TIME;
    const gapMs = this.#now() - this.#lastMarkingEnd;
    const isOften = gapMs < allowedGapMs;
    const wanted = isOften ? this.#window * 2 : this.#window / 2;
    this.#window = Math.min(Math.max(this.#smallestWindow, Math.ceil(wanted)), REGION_MAP_BYTES * 8);
  }

  /** Whole pages, as the file holds them. */
  #write(fromByte: number, toByte: number): void {
    const from = Math.floor(fromByte / PAGE_BYTES) * PAGE_BYTES;
    const to = Math.ceil(toByte / PAGE_BYTES) * PAGE_BYTES;
    this.#store.write(REGION_MAP_OFFSET + from, this.#bits, from, to - from);
  }
}
