import { crc32c } from '../../binary/index.ts';
import type { ByteStore } from '../../store/index.ts';
import { PAGE_BYTES, UNIT_MAP_OFFSET, UNITS_PER_PAGE } from './format.ts';
import { type Geometry, pageCount, unitCount } from './geometry.ts';

const LOAD_PAGES = 256;
const CHECKSUM_AT = PAGE_BYTES - 4;

/** For each unit the sequence number at which it changed last; 0 for never. In memory, with the pages that must be written. */
export class UnitMap {
  readonly #store: ByteStore;
  /** Memory of the system's that nobody touched costs nothing: a new disk's map is all such. */
  #sequences: Uint32Array;
  #dirty: Uint8Array;
  #dirtyCount = 0;
  #geometry: Geometry;

  private constructor(store: ByteStore, geometry: Geometry) {
    this.#store = store;
    this.#geometry = geometry;
    this.#sequences = new Uint32Array(pageCount(geometry) * UNITS_PER_PAGE);
    this.#dirty = new Uint8Array(pageCount(geometry));
  }

  /** A page that is damaged counts as changed, all of it, at `inDoubt`. @throws HvError `io` */
  static load(store: ByteStore, geometry: Geometry, inDoubt: number): UnitMap {
    const map = new UnitMap(store, geometry);
    const pages = pageCount(geometry);
    const bytes = new Uint8Array(Math.min(LOAD_PAGES, pages) * PAGE_BYTES);
    for (let first = 0; first < pages; first += LOAD_PAGES) {
      const count = Math.min(LOAD_PAGES, pages - first);
      store.read(UNIT_MAP_OFFSET + first * PAGE_BYTES, bytes, 0, count * PAGE_BYTES);
      for (let page = 0; page < count; page++) {
        map.#loadPage(first + page, bytes.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES), inDoubt);
      }
    }
    return map;
  }

  /** The sequence numbers, by unit; what lies beyond the last unit has no meaning. */
  get sequences(): Uint32Array {
    return this.#sequences;
  }

  get hasUnwritten(): boolean {
    return this.#dirtyCount > 0;
  }

  set(unit: number, sequence: number): void {
    this.#sequences[unit] = sequence;
    const page = Math.floor(unit / UNITS_PER_PAGE);
    if (this.#dirty[page] === 1) return;
    this.#dirty[page] = 1;
    this.#dirtyCount++;
  }

  /** @param to behind the last unit */
  setRange(from: number, to: number, sequence: number): void {
    for (let unit = from; unit < to; unit++) if (this.#sequences[unit] !== sequence) this.set(unit, sequence);
  }

  /** The highest sequence number of all. */
  highest(): number {
    let highest = 0;
    const end = unitCount(this.#geometry);
    for (let unit = 0; unit < end; unit++) {
      const sequence = this.#sequences[unit] as number; // in range
      if (sequence > highest) highest = sequence;
    }
    return highest;
  }

  /** The disk has another size; what was added counts as changed at `sequence`, and so does its last, half unit. */
  resize(geometry: Geometry, sequence: number): void {
    const before = unitCount(this.#geometry);
    const after = unitCount(geometry);
    const pages = pageCount(geometry);
    const sequences = new Uint32Array(pages * UNITS_PER_PAGE);
    sequences.set(this.#sequences.subarray(0, Math.min(before, after)));
    const dirty = new Uint8Array(pages);
    dirty.set(this.#dirty.subarray(0, Math.min(dirty.length, this.#dirty.length)));
    this.#sequences = sequences;
    this.#dirty = dirty;
    this.#dirtyCount = dirty.reduce((sum, one) => sum + one, 0);
    this.#geometry = geometry;
    // A disk that shrinks forgets its end on paper too: should it grow again, nothing old may come back.
    for (let page = Math.floor(Math.min(before, after) / UNITS_PER_PAGE); page < pages; page++) this.#touch(page);
    this.setRange(Math.max(0, Math.min(before, after) - 1), after, sequence);
  }

  /** Writes what changed in memory; a flush must follow before the region map is cleared. @throws HvError `io`, `no-space` */
  write(): void {
    if (this.#dirtyCount === 0) return;
    const bytes = new Uint8Array(PAGE_BYTES);
    const view = new DataView(bytes.buffer);
    for (let page = 0; page < this.#dirty.length; page++) {
      if (this.#dirty[page] === 0) continue;
      const first = page * UNITS_PER_PAGE;
      for (let index = 0; index < UNITS_PER_PAGE; index++) {
        view.setUint32(index * 4, this.#sequences[first + index] ?? 0, true);
      }
      view.setUint32(CHECKSUM_AT, crc32c(bytes, 0, CHECKSUM_AT), true);
      this.#store.write(UNIT_MAP_OFFSET + page * PAGE_BYTES, bytes, 0, PAGE_BYTES);
    }
    this.#dirty.fill(0);
    this.#dirtyCount = 0;
  }

  #touch(page: number): void {
    if (this.#dirty[page] === 1) return;
    this.#dirty[page] = 1;
    this.#dirtyCount++;
  }

  #loadPage(page: number, bytes: Uint8Array, inDoubt: number): void {
    const first = page * UNITS_PER_PAGE;
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, PAGE_BYTES / 4);
    let isEmpty = true;
    for (let index = 0; index < words.length; index++) {
      if (words[index] === 0) continue;
      isEmpty = false;
      break;
    }
    if (isEmpty) return;
    const view = new DataView(bytes.buffer, bytes.byteOffset, PAGE_BYTES);
    if (crc32c(bytes, 0, CHECKSUM_AT) !== view.getUint32(CHECKSUM_AT, true)) {
      this.setRange(first, Math.min(first + UNITS_PER_PAGE, unitCount(this.#geometry)), inDoubt);
      return;
    }
    for (let index = 0; index < UNITS_PER_PAGE; index++) {
      const sequence = view.getUint32(index * 4, true);
      if (sequence !== 0) this.#sequences[first + index] = sequence;
    }
  }
}
