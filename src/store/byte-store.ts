/**
 * Random access bytes: what every format is read from and written to.
 *
 * All calls but `flush` are synchronous: the store lives on the disk data plane's own thread, where a synchronous
 * system call costs a third of a trip through the thread pool. Only flush may take long, so it has an asynchronous form.
 */
export interface ByteStore {
  /** Names the thing in messages: a path, or `memory`. */
  readonly name: string;
  readonly readOnly: boolean;

  /** Current length in bytes. */
  size(): number;

  /**
   * Fills target[targetStart, targetStart+length) from `position`. Bytes beyond the end read as zero.
   * @throws HvError `io`
   */
  read(position: number, target: Uint8Array, targetStart: number, length: number): void;

  /**
   * Writes source[sourceStart, sourceStart+length) at `position`; extends the store as a file would.
   * When this returns, the bytes survive the death of the process (not yet a power cut).
   * @throws HvError `io`, `no-space`, `permission-denied` (read-only)
   */
  write(position: number, source: Uint8Array, sourceStart: number, length: number): void;

  /** Truncates or extends with zeros. @throws HvError `io`, `no-space` */
  setSize(sizeBytes: number): void;

  /** Makes the range read as zero and gives its space back where the system can; else writes zeros. */
  punchHole(position: number, length: number): void;

  /** Reserves space for a range so that later writes cannot fail for lack of it; contents stay. Best effort. */
  allocate(position: number, length: number): void;

  /** All writes before this call survive a power cut when it returns. */
  flushSync(): void;
  flush(): Promise<void>;

  /** The file descriptor under the store, for callers that move bytes in the kernel; undefined where there is none. */
  readonly fd: number | undefined;

  /** Idempotent. Does not flush. */
  close(): void;
}
