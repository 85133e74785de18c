/**
 * A new, empty image file that is filled in one pass, before anybody can see it: no log, no order between the writes,
 * the tables once at the end. The caller moves the payload; what it does not write reads as zero.
 */
export interface BulkTarget {
  /** Where bytes of the disk lie in the file: as many of them, from `offset` on, as lie there in a row. Their blocks get their places with the first question. */
  place(offset: number, length: number): BulkPlace;
  /** Writes the tables. The file is whole afterwards, but for a flush. */
  finish(): void;
}

export interface BulkPlace {
  readonly fileOffset: number;
  /** At least 1, at most what was asked for. */
  readonly length: number;
}
