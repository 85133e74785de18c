import type { ByteStore } from '../../store/index.ts';
import type { Segment } from '../disk-image.ts';
import { type VhdBody, ZEROS } from './vhd-body.ts';

/** A fixed disk: its bytes in order, from the file's first on. */
export class FixedBody implements VhdBody {
  readonly blockSizeBytes = null;
  readonly #store: ByteStore;

  constructor(store: ByteStore) {
    this.#store = store;
  }

  setParent(): void {}

  read(offset: number, target: Uint8Array, targetStart: number, length: number): void {
    this.#store.read(offset, target, targetStart, length);
  }

  write(offset: number, source: Uint8Array, sourceStart: number, length: number): void {
    this.#store.write(offset, source, sourceStart, length);
  }

  /** Its space was reserved, and stays so. */
  writeZeroes(offset: number, length: number): void {
    for (let done = 0; done < length; done += ZEROS.length) {
      this.#store.write(offset + done, ZEROS, 0, Math.min(ZEROS.length, length - done));
    }
  }

  trim(): void {}

  *segments(offset: number, length: number, depth: number): Generator<Segment> {
    if (length > 0) yield { offset, length, kind: 'data', depth, store: this.#store, fileOffset: offset };
  }

  flush(): Promise<void> {
    return this.#store.flush();
  }

  flushSync(): void {
    this.#store.flushSync();
  }

  settle(): Promise<void> {
    return Promise.resolve();
  }

  finish(): void {
    this.#store.flushSync();
  }
}
