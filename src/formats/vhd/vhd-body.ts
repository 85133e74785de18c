import type { ParentDisk, Segment } from '../disk-image.ts';

export const ZEROS = new Uint8Array(1024 * 1024);
/** A shorter range is written as zeros rather than punched: a hole would cost more than it gives back. */
export const MIN_HOLE_BYTES = 64 * 1024;

/** How a VHD's type holds the disk's bytes. Ranges were checked, the file is open for what is asked. */
export interface VhdBody {
  readonly blockSizeBytes: number | null;
  setParent(parent: ParentDisk): void;
  read(offset: number, target: Uint8Array, targetStart: number, length: number): void;
  write(offset: number, source: Uint8Array, sourceStart: number, length: number): void;
  writeZeroes(offset: number, length: number, mayUnmap: boolean): void;
  trim(offset: number, length: number): void;
  segments(offset: number, length: number, depth: number): Generator<Segment>;
  flush(): Promise<void>;
  flushSync(): void;
  /** Waits for background work. */
  settle(): Promise<void>;
  /** Leaves the file as short as it can be, durable. */
  finish(): void;
}
