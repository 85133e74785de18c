import { HvError } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import { LOG_SECTOR } from './format.ts';
import type { ReplayTarget } from './log-reader.ts';

/** Replays into the file itself. Zeros beyond its end only lengthen it, so that a hostile length writes nothing. */
export class FileReplayTarget implements ReplayTarget {
  readonly #store: ByteStore;

  constructor(store: ByteStore) {
    this.#store = store;
  }

  writeSector(fileOffset: number, sector: Uint8Array): void {
    this.#store.write(fileOffset, sector, 0, LOG_SECTOR);
  }

  zero(fileOffset: number, length: number): void {
    const size = this.#store.size();
    if (fileOffset < size) this.#store.punchHole(fileOffset, Math.min(length, size - fileOffset));
    this.extend(fileOffset + length);
  }

  extend(sizeBytes: number): void {
    if (this.#store.size() < sizeBytes) this.#store.setSize(sizeBytes);
  }
}

/**
 * A read-only view of a store with a log's updates laid over it; the store itself stays as it is.
 * Positions are the file's own, so the descriptor stays usable for ranges that overlaps() denies.
 */
export class ReplayOverlay implements ByteStore, ReplayTarget {
  readonly name: string;
  readonly readOnly = true;
  readonly #base: ByteStore;
  /** Sectors by number. One that was written before a zeroing of its range is gone from here. */
  readonly #sectors = new Map<number, Uint8Array>();
  readonly #zeroed: { readonly start: number; readonly end: number }[] = [];
  #lowest = Number.POSITIVE_INFINITY;
  #end = 0;
  #size: number;

  constructor(base: ByteStore) {
    this.#base = base;
    this.name = base.name;
    this.#size = base.size();
  }

  get fd(): number | undefined {
    return this.#base.fd;
  }

  /** Whether the log changed anything near this range: then its bytes are not those of the file. */
  overlaps(position: number, length: number): boolean {
    return position < this.#end && position + length > this.#lowest;
  }

  writeSector(fileOffset: number, sector: Uint8Array): void {
    this.#sectors.set(fileOffset / LOG_SECTOR, sector.slice(0, LOG_SECTOR));
    this.#cover(fileOffset, LOG_SECTOR);
  }

  zero(fileOffset: number, length: number): void {
    const end = fileOffset + length;
    for (const index of this.#sectors.keys()) {
      if (index * LOG_SECTOR >= fileOffset && index * LOG_SECTOR < end) this.#sectors.delete(index);
    }
    this.#zeroed.push({ start: fileOffset, end });
    this.#cover(fileOffset, length);
  }

  extend(sizeBytes: number): void {
    this.#size = Math.max(this.#size, sizeBytes);
  }

  size(): number {
    return this.#size;
  }

  read(position: number, target: Uint8Array, targetStart: number, length: number): void {
    this.#base.read(position, target, targetStart, length);
    if (!this.overlaps(position, length)) return;
    const end = position + length;
    for (const range of this.#zeroed) {
      const from = Math.max(position, range.start);
      const to = Math.min(end, range.end);
      if (from < to) target.fill(0, targetStart + from - position, targetStart + to - position);
    }
    for (let index = Math.floor(position / LOG_SECTOR); index * LOG_SECTOR < end; index++) {
      const sector = this.#sectors.get(index);
      if (!sector) continue;
      const from = Math.max(position, index * LOG_SECTOR);
      const to = Math.min(end, (index + 1) * LOG_SECTOR);
      target.set(sector.subarray(from - index * LOG_SECTOR, to - index * LOG_SECTOR), targetStart + from - position);
    }
  }

  write(): never {
    return this.#refuse();
  }

  setSize(): never {
    return this.#refuse();
  }

  punchHole(): never {
    return this.#refuse();
  }

  allocate(): never {
    return this.#refuse();
  }

  flushSync(): void {}

  flush(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {
    this.#base.close();
  }

  #cover(fileOffset: number, length: number): void {
    this.#lowest = Math.min(this.#lowest, fileOffset);
    this.#end = Math.max(this.#end, fileOffset + length);
    this.extend(fileOffset + length);
  }

  #refuse(): never {
    throw new HvError('permission-denied', `${this.name} is open for reading only`, { detail: { path: this.name } });
  }
}
