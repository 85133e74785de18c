import type { ByteStore } from '../../store/index.ts';
import type { Segment } from '../disk-image.ts';
import { type VhdBody, ZEROS } from './vhd-body.ts';

/** A fixed disk: its bytes in order, from the file's first on. */
export class FixedBody implements VhdBody {
  readonly blockSizeBytes = null;
  readonly #store: ByteStore;
  readonly #zeroRange: { readonly offset: number; readonly length: number } | undefined;

  /** @param zeroRange reads as zero whatever the file holds there: only of a file that is not written to */
  constructor(store: ByteStore, zeroRange?: { readonly offset: number; readonly length: number }) {
    this.#store = store;
    this.#zeroRange = zeroRange;
  }

  setParent(): void {}

  read(offset: number, target: Uint8Array, targetStart: number, length: number): void {
    this.#store.read(offset, target, targetStart, length);
    if (!this.#zeroRange) return;
    const start = Math.max(offset, this.#zeroRange.offset);
    const end = Math.min(offset + length, this.#zeroRange.offset + this.#zeroRange.length);
    if (end > start) target.fill(0, targetStart + start - offset, targetStart + end - offset);
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
    const end = offset + length;
    const zeroStart = Math.min(end, Math.max(offset, this.#zeroRange?.offset ?? end));
    const zeroEnd = Math.min(end, Math.max(zeroStart, zeroStart === end ? end : this.#zeroEnd()));
    const data = { kind: 'data', depth, store: this.#store } as const;
    if (zeroStart > offset) yield { ...data, offset, length: zeroStart - offset, fileOffset: offset };
    if (zeroEnd > zeroStart) {
      const zero = { kind: 'zero', depth, store: undefined, fileOffset: 0 } as const;
      yield { ...zero, offset: zeroStart, length: zeroEnd - zeroStart };
    }
    if (end > zeroEnd) yield { ...data, offset: zeroEnd, length: end - zeroEnd, fileOffset: zeroEnd };
  }

  #zeroEnd(): number {
    return this.#zeroRange ? this.#zeroRange.offset + this.#zeroRange.length : 0;
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
