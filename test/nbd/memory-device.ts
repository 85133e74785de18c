import type { BlockDevice, Extent, FileRange } from '../../src/disk/block-device.ts';
import { HvError } from '../../src/errors/index.ts';

const BLOCK_BYTES = 4096;
/** A descriptor that no process has. */
const NO_DESCRIPTOR = 2 ** 31 - 1;

/** A disk in memory that remembers which blocks were ever written, and can be told to fail. */
export class MemoryDevice implements BlockDevice {
  readonly sizeBytes: number;
  readonly logicalSectorSizeBytes = 512;
  readonly physicalSectorSizeBytes = 4096;
  readonly readOnly: boolean;
  readonly bytes: Buffer;
  readonly #isHeld: Uint8Array;
  flushes = 0;
  writes: { readonly offset: number; readonly length: number }[] = [];
  /** Thrown by the next accesses of these kinds. */
  failure: { readonly kind: 'read' | 'write' | 'flush'; readonly error: Error } | undefined;
  /** How long every read holds the thread up: a disk that takes so long is read through the pool. */
  readDelayMs = 0;
  /** Flushes wait for it. */
  flushGate: Promise<void> = Promise.resolve();

  constructor(sizeBytes: number, options: { readonly readOnly?: boolean } = {}) {
    this.sizeBytes = sizeBytes;
    this.bytes = Buffer.alloc(sizeBytes);
    this.#isHeld = new Uint8Array(Math.ceil(sizeBytes / BLOCK_BYTES));
    this.readOnly = options.readOnly ?? false;
  }

  read(offset: number, target: Uint8Array, targetStart: number, length: number): void {
    this.#access('read', offset, length);
    for (const until = performance.now() + this.readDelayMs; performance.now() < until; );
    target.set(this.bytes.subarray(offset, offset + length), targetStart);
  }

  write(offset: number, source: Uint8Array, sourceStart: number, length: number): void {
    this.#access('write', offset, length);
    if (this.writes.length < 1000) this.writes.push({ offset, length });
    this.bytes.set(source.subarray(sourceStart, sourceStart + length), offset);
    this.#isHeld.fill(1, Math.floor(offset / BLOCK_BYTES), Math.ceil((offset + length) / BLOCK_BYTES));
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): void {
    this.#access('write', offset, length);
    this.bytes.fill(0, offset, offset + length);
    if (mayUnmap) this.trim(offset, length);
  }

  trim(offset: number, length: number): void {
    this.#access('write', offset, length);
    const first = Math.ceil(offset / BLOCK_BYTES);
    const end = Math.floor((offset + length) / BLOCK_BYTES);
    if (end <= first) return;
    this.bytes.fill(0, first * BLOCK_BYTES, end * BLOCK_BYTES);
    this.#isHeld.fill(0, first, end);
  }

  async flush(): Promise<void> {
    this.#access('flush', 0, 0);
    await this.flushGate;
    this.flushes++;
  }

  *extents(offset: number, length: number): Iterable<Extent> {
    this.#check(offset, length);
    const end = offset + length;
    for (let at = offset; at < end; ) {
      const blockEnd = Math.min(end, at - (at % BLOCK_BYTES) + BLOCK_BYTES);
      const isHeld = this.#isHeld[Math.floor(at / BLOCK_BYTES)] === 1;
      yield { offset: at, length: blockEnd - at, kind: isHeld ? 'data' : 'hole', depth: 0 };
      at = blockEnd;
    }
  }

  /** There is no file: what was never written is known to be zero, all else ends up in `read`. */
  resolveRead(offset: number, length: number): readonly FileRange[] {
    this.#check(offset, length);
    const ranges: FileRange[] = [];
    for (const extent of this.extents(offset, length)) {
      ranges.push({ fd: extent.kind === 'data' ? NO_DESCRIPTOR : undefined, fileOffset: 0, length: extent.length });
    }
    return ranges;
  }

  async close(): Promise<void> {}

  #access(kind: 'read' | 'write' | 'flush', offset: number, length: number): void {
    this.#check(offset, length);
    if (this.failure?.kind === kind) throw this.failure.error;
  }

  #check(offset: number, length: number): void {
    if (offset < 0 || length < 0 || offset + length > this.sizeBytes) {
      throw new HvError('invalid-argument', 'outside of the disk', { detail: { offset, length } });
    }
  }
}
