import { HvError } from '../errors/index.ts';
import type { ByteStore } from '../store/index.ts';
import type { BlockDevice, Extent, FileRange } from './block-device.ts';

const CLUSTER_BYTES = 64 * 1024;

/** What a frozen view reads where nothing was overwritten. */
export interface FrozenSource {
  readonly sizeBytes: number;
  readonly logicalSectorSizeBytes: number;
  readonly physicalSectorSizeBytes: number;
  read(offset: number, target: Uint8Array, targetStart: number, length: number): void;
}

/**
 * A disk as it was at one moment, while it is written to: what a write is about to replace is put aside first.
 *
 *     write -> beforeChange: old bytes -> scratch (once for each 64 KiB) -> the write itself
 *     read  -> scratch where something was put aside, else the disk
 *
 * Holds only the ranges that it is asked to. Lives on the disk's own thread. Where putting aside fails the writer goes
 * on, and the view is void.
 */
export class FrozenView implements BlockDevice {
  readonly sizeBytes: number;
  readonly logicalSectorSizeBytes: number;
  readonly physicalSectorSizeBytes: number;
  readonly readOnly = true;
  readonly #source: FrozenSource;
  readonly #scratch: ByteStore;
  /** A bit for each cluster that lies in the scratch file. */
  readonly #isAside: Uint8Array;
  /** A bit for each cluster that is held. */
  readonly #isHeld: Uint8Array;
  readonly #buffer = new Uint8Array(CLUSTER_BYTES);
  #failure: unknown;

  /** @param scratch empty; as long as the disk in the end, with holes where nothing was put aside */
  constructor(
    source: FrozenSource,
    scratch: ByteStore,
    held: Iterable<{ readonly offset: number; readonly length: number }>,
  ) {
    this.#source = source;
    this.#scratch = scratch;
    this.sizeBytes = source.sizeBytes;
    this.logicalSectorSizeBytes = source.logicalSectorSizeBytes;
    this.physicalSectorSizeBytes = source.physicalSectorSizeBytes;
    this.#isAside = new Uint8Array(Math.ceil(this.sizeBytes / CLUSTER_BYTES / 8));
    this.#isHeld = new Uint8Array(this.#isAside.length);
    for (const { offset, length } of held) {
      for (let cluster = Math.floor(offset / CLUSTER_BYTES); cluster * CLUSTER_BYTES < offset + length; cluster++) {
        setBit(this.#isHeld, cluster);
      }
    }
  }

  /** To be called before a range of the disk changes; never throws. */
  beforeChange(offset: number, length: number): void {
    if (this.#failure !== undefined) return;
    try {
      const end = Math.min(offset + length, this.sizeBytes);
      for (let cluster = Math.floor(offset / CLUSTER_BYTES); cluster * CLUSTER_BYTES < end; cluster++) {
        if (hasBit(this.#isHeld, cluster) && !hasBit(this.#isAside, cluster)) this.#putAside(cluster);
      }
    } catch (error) {
      this.#failure = error;
    }
  }

  read(offset: number, target: Uint8Array, targetStart: number, length: number): void {
    if (this.#failure !== undefined) {
      throw new HvError('io', 'the frozen view of the disk is void: what was overwritten could not be put aside', {
        cause: this.#failure,
      });
    }
    if (offset < 0 || length < 0 || offset + length > this.sizeBytes) {
      throw new HvError('invalid-argument', 'the range is outside of the disk', { detail: { offset, length } });
    }
    for (let at = offset; at < offset + length; ) {
      const cluster = Math.floor(at / CLUSTER_BYTES);
      if (!hasBit(this.#isHeld, cluster)) {
        throw new HvError('invalid-argument', 'the range is not held by the frozen view', {
          detail: { offset, length },
        });
      }
      const count = Math.min((cluster + 1) * CLUSTER_BYTES, offset + length) - at;
      const from = hasBit(this.#isAside, cluster) ? this.#scratch : this.#source;
      from.read(at, target, targetStart + at - offset, count);
      at += count;
    }
  }

  write(): void {
    throw readOnlyError();
  }

  writeZeroes(): void {
    throw readOnlyError();
  }

  trim(): void {
    throw readOnlyError();
  }

  async flush(): Promise<void> {}

  /** All of it counts as data: who reads it knows by other means what to read. */
  *extents(offset: number, length: number): Generator<Extent> {
    if (length > 0) yield { offset, length, kind: 'data', depth: 0 };
  }

  resolveRead(): readonly FileRange[] {
    throw new HvError('unsupported', 'the bytes of a frozen view are not in one file');
  }

  async close(): Promise<void> {
    this.#scratch.close();
  }

  #putAside(cluster: number): void {
    const start = cluster * CLUSTER_BYTES;
    const count = Math.min(CLUSTER_BYTES, this.sizeBytes - start);
    this.#source.read(start, this.#buffer, 0, count);
    this.#scratch.write(start, this.#buffer, 0, count);
    setBit(this.#isAside, cluster);
  }
}

function hasBit(bits: Uint8Array, index: number): boolean {
  return ((bits[index >> 3] ?? 0) & (1 << (index & 7))) !== 0;
}

function setBit(bits: Uint8Array, index: number): void {
  bits[index >> 3] = (bits[index >> 3] ?? 0) | (1 << (index & 7));
}

function readOnlyError(): HvError {
  return new HvError('permission-denied', 'a frozen view is for reading only');
}
