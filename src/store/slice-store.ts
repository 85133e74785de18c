import { HvError } from '../errors/index.ts';
import type { ByteStore } from './byte-store.ts';

/** A fixed range of another store, seen as a store of its own. Does not own the other: close() leaves it open. */
export class SliceStore implements ByteStore {
  readonly name: string;
  readonly readOnly: boolean;
  /** Positions differ from the file's, so the descriptor is not offered. */
  readonly fd = undefined;
  readonly #base: ByteStore;
  readonly #start: number;
  readonly #length: number;

  constructor(base: ByteStore, start: number, length: number, options: { readonly readOnly?: boolean } = {}) {
    this.#base = base;
    this.#start = start;
    this.#length = length;
    this.name = base.name;
    this.readOnly = options.readOnly ?? base.readOnly;
  }

  size(): number {
    return this.#length;
  }

  read(position: number, target: Uint8Array, targetStart: number, length: number): void {
    const inside = Math.max(0, Math.min(length, this.#length - position));
    this.#base.read(this.#start + position, target, targetStart, inside);
    target.fill(0, targetStart + inside, targetStart + length);
  }

  write(position: number, source: Uint8Array, sourceStart: number, length: number): void {
    this.#mustHold(position, length);
    this.#base.write(this.#start + position, source, sourceStart, length);
  }

  setSize(sizeBytes: number): void {
    if (sizeBytes !== this.#length) throw new HvError('unsupported', `a part of ${this.name} cannot change its size`);
  }

  punchHole(position: number, length: number): void {
    this.#mustHold(position, length);
    this.#base.punchHole(this.#start + position, length);
  }

  allocate(position: number, length: number): void {
    this.#mustHold(position, length);
    this.#base.allocate(this.#start + position, length);
  }

  flushSync(): void {
    this.#base.flushSync();
  }

  flush(): Promise<void> {
    return this.#base.flush();
  }

  close(): void {}

  #mustHold(position: number, length: number): void {
    if (this.readOnly) throw new HvError('permission-denied', `${this.name} is open for reading only`);
    if (position + length > this.#length) {
      throw new HvError('no-space', `the range ends beyond this part of ${this.name}`, {
        detail: { position, length, sizeBytes: this.#length },
      });
    }
  }
}
