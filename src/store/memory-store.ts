import { HvError } from '../errors/index.ts';
import type { ByteStore } from './byte-store.ts';

const PAGE_BYTES = 64 * 1024;

/** Bytes in memory, sparse in pages of 64 KiB, so that a store of terabytes costs what was written to it. */
export class MemoryStore implements ByteStore {
  readonly name: string;
  readonly readOnly: boolean;
  readonly fd = undefined;
  readonly #pages = new Map<number, Uint8Array>();
  /** Pages that no clone shares; others are copied before they are changed. */
  readonly #own = new Set<number>();
  #size = 0;

  constructor(content?: Uint8Array, options: { readonly name?: string; readonly readOnly?: boolean } = {}) {
    this.name = options.name ?? 'memory';
    this.readOnly = options.readOnly ?? false;
    if (content) this.#put(0, content, 0, content.length);
  }

  size(): number {
    return this.#size;
  }

  read(position: number, target: Uint8Array, targetStart: number, length: number): void {
    let done = 0;
    while (done < length) {
      const at = position + done;
      const index = Math.floor(at / PAGE_BYTES);
      const inPage = at - index * PAGE_BYTES;
      const count = Math.min(length - done, PAGE_BYTES - inPage);
      const page = this.#pages.get(index);
      if (page) target.set(page.subarray(inPage, inPage + count), targetStart + done);
      else target.fill(0, targetStart + done, targetStart + done + count);
      done += count;
    }
  }

  write(position: number, source: Uint8Array, sourceStart: number, length: number): void {
    this.#mustBeWritable();
    this.#put(position, source, sourceStart, length);
  }

  setSize(sizeBytes: number): void {
    this.#mustBeWritable();
    if (sizeBytes < this.#size) this.#zero(sizeBytes, this.#size - sizeBytes);
    this.#size = sizeBytes;
  }

  punchHole(position: number, length: number): void {
    this.#mustBeWritable();
    this.#zero(position, Math.min(length, this.#size - position));
  }

  allocate(): void {}

  flushSync(): void {}

  flush(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {}

  /** A writable copy; what neither of the two changes is held once. */
  clone(): MemoryStore {
    const copy = new MemoryStore(undefined, { name: this.name });
    for (const [index, page] of this.#pages) copy.#pages.set(index, page);
    this.#own.clear();
    copy.#size = this.#size;
    return copy;
  }

  #put(position: number, source: Uint8Array, sourceStart: number, length: number): void {
    let done = 0;
    while (done < length) {
      const at = position + done;
      const index = Math.floor(at / PAGE_BYTES);
      const inPage = at - index * PAGE_BYTES;
      const count = Math.min(length - done, PAGE_BYTES - inPage);
      this.#ownPage(index).set(source.subarray(sourceStart + done, sourceStart + done + count), inPage);
      done += count;
    }
    if (length > 0) this.#size = Math.max(this.#size, position + length);
  }

  #zero(position: number, length: number): void {
    const end = position + length;
    if (end - position > PAGE_BYTES * this.#pages.size) {
      for (const index of [...this.#pages.keys()]) this.#zeroInPage(index, position, end);
      return;
    }
    for (let index = Math.floor(position / PAGE_BYTES); index * PAGE_BYTES < end; index++) {
      this.#zeroInPage(index, position, end);
    }
  }

  #zeroInPage(index: number, position: number, end: number): void {
    const from = Math.max(0, position - index * PAGE_BYTES);
    const to = Math.min(PAGE_BYTES, end - index * PAGE_BYTES);
    if (from >= to) return;
    if (from === 0 && to === PAGE_BYTES) this.#pages.delete(index);
    else if (this.#pages.has(index)) this.#ownPage(index).fill(0, from, to);
  }

  #ownPage(index: number): Uint8Array {
    const shared = this.#pages.get(index);
    if (shared && this.#own.has(index)) return shared;
    const page = shared ? Uint8Array.from(shared) : new Uint8Array(PAGE_BYTES);
    this.#pages.set(index, page);
    this.#own.add(index);
    return page;
  }

  #mustBeWritable(): void {
    if (this.readOnly) throw new HvError('permission-denied', `${this.name} is open for reading only`);
  }
}
