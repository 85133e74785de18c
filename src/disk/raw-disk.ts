import { HvError } from '../errors/index.ts';
import type { FileStore } from '../store/index.ts';
import { nextData, nextHole } from '../system/index.ts';
import type { BlockDevice, Extent, FileRange } from './block-device.ts';

const ZEROS = new Uint8Array(1 << 20);
const SECTOR_BYTES = 512;
/** Below this a hole is not worth its bookkeeping. */
const MIN_HOLE_BYTES = 4096;

/** A file whose bytes are the disk's bytes. */
export class RawDisk implements BlockDevice, AsyncDisposable {
  readonly logicalSectorSizeBytes = SECTOR_BYTES;
  readonly physicalSectorSizeBytes = 4096;
  readonly readOnly: boolean;
  readonly #store: FileStore;
  #sizeBytes: number;

  constructor(store: FileStore) {
    this.#store = store;
    this.readOnly = store.readOnly;
    this.#sizeBytes = store.size();
  }

  /** As it is now: resize() changes it. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get path(): string {
    return this.#store.name;
  }

  read(offset: number, target: Uint8Array, targetStart: number, length: number): void {
    this.#mustContain(offset, length);
    this.#store.read(offset, target, targetStart, length);
  }

  write(offset: number, source: Uint8Array, sourceStart: number, length: number): void {
    this.#mustContain(offset, length);
    this.#store.write(offset, source, sourceStart, length);
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): void {
    this.#mustContain(offset, length);
    if (mayUnmap) {
      this.#store.punchHole(offset, length);
      return;
    }
    for (let done = 0; done < length; done += ZEROS.length) {
      this.#store.write(offset + done, ZEROS, 0, Math.min(ZEROS.length, length - done));
    }
  }

  trim(offset: number, length: number): void {
    this.#mustContain(offset, length);
    if (length >= MIN_HOLE_BYTES) this.#store.punchHole(offset, length);
  }

  /** Cuts the file or lengthens it with zeros; durable when it returns. @throws HvError `permission-denied`, `no-space`, `io` */
  resize(sizeBytes: number): void {
    this.#store.setSize(sizeBytes);
    this.#sizeBytes = sizeBytes;
    this.#store.flushSync();
  }

  flush(): Promise<void> {
    return this.#store.flush();
  }

  *extents(offset: number, length: number): Generator<Extent> {
    this.#mustContain(offset, length);
    const end = offset + length;
    for (let at = offset; at < end; ) {
      const data = Math.min(end, nextData(this.#store.fd, at) ?? end);
      if (data > at) yield { offset: at, length: data - at, kind: 'hole', depth: 0 };
      if (data === end) return;
      const hole = Math.min(end, nextHole(this.#store.fd, data));
      yield { offset: data, length: hole - data, kind: 'data', depth: 0 };
      at = hole;
    }
  }

  resolveRead(offset: number, length: number): readonly FileRange[] {
    this.#mustContain(offset, length);
    return [{ length, fd: this.#store.fd, fileOffset: offset }];
  }

  async close(): Promise<void> {
    try {
      if (!this.readOnly) await this.#store.flush();
    } finally {
      this.#store.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #mustContain(offset: number, length: number): void {
    if (offset >= 0 && length >= 0 && offset + length <= this.#sizeBytes) return;
    throw new HvError('invalid-argument', `the range is outside of the disk ${this.path}`, {
      detail: { path: this.path, offset, length, sizeBytes: this.#sizeBytes },
    });
  }
}
