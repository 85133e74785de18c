/**
 * A new, empty image file that is filled in one pass, before anybody can see it: no log, no order between the writes,
 * the tables once at the end. The caller moves the payload; what it does not write reads as zero.
 */
export interface BulkTarget {
  /** What is written never crosses a multiple of this at once; Infinity where the bytes lie in a row. */
  readonly blockSizeBytes: number;
  /** Where a byte of the disk lies in the file; its block gets its place with the first question. */
  position(offset: number): number;
  /** Writes the tables. The file is whole afterwards, but for a flush. */
  finish(): void;
}
