/**
 * A virtual disk's contents, whatever holds them: one format file, a chain of differencing files, or raw bytes.
 * Lives on the thread that opened it; every call but flush and close is synchronous (see store/byte-store.ts).
 * Offsets and lengths are bytes, multiples of 1 (the device does the read-modify-write that a format needs).
 */
export interface BlockDevice {
  readonly sizeBytes: number;
  readonly logicalSectorSizeBytes: number;
  readonly physicalSectorSizeBytes: number;
  readonly readOnly: boolean;

  /** @throws HvError `invalid-argument` (out of range), `io`, `corrupt` */
  read(offset: number, target: Uint8Array, targetStart: number, length: number): void;
  /** When it returns, the write survives the death of this process. @throws also `no-space`, `permission-denied` */
  write(offset: number, source: Uint8Array, sourceStart: number, length: number): void;
  /** The range reads as zero afterwards; `mayUnmap` lets the device give the space back. */
  writeZeroes(offset: number, length: number, mayUnmap: boolean): void;
  /** A hint: afterwards the range reads as zero or as before. */
  trim(offset: number, length: number): void;
  /** Every write acknowledged before this call survives a power cut when it returns. */
  flush(): Promise<void>;

  /**
   * The layers' view of a range, first extent first, each adjacent to the one before; covers [offset, offset+length).
   * `data`: reads from a file; `zero`: reads as zero and holds space or a mark for it; `hole`: reads as zero, nothing is held.
   */
  extents(offset: number, length: number): Iterable<Extent>;

  /**
   * Where the bytes of a range lie: file ranges for data, `undefined` fd for zeros. The caller moves the payload.
   * Valid until the next write, trim or flush on this device.
   */
  resolveRead(offset: number, length: number): readonly FileRange[];

  /** Flushes (when writable) and closes. Idempotent. */
  close(): Promise<void>;
}

export interface Extent {
  readonly offset: number;
  readonly length: number;
  readonly kind: 'data' | 'zero' | 'hole';
  /** How many files up the chain the answer came from; 0 is the leaf. */
  readonly depth: number;
}

export interface FileRange {
  readonly length: number;
  /** Undefined: the range is zeros. */
  readonly fd: number | undefined;
  readonly fileOffset: number;
}
