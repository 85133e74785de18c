/** The part of a file's header that says who wrote to it last. */
export interface HeaderState {
  /** Changes with the first change of each session of writing, whoever writes. */
  readonly fileWriteGuid: string;
  /** Grows with each writing of the header. */
  readonly headerSequence: bigint;
}

export interface ImageState extends HeaderState {
  readonly sizeBytes: number;
}

/**
 * Is told of an image's changes before they happen: what keeps book of changed blocks. A call that throws has not
 * noted what it was told; the image then gives the observer up and takes another FileWriteGuid, so that what was noted
 * no longer fits the file.
 */
export interface ChangeObserver {
  /** The image is open. What was noted may not fit it. */
  opened(state: ImageState): void;
  /** A session's first change of the header. @returns the FileWriteGuid to take, noted durably */
  chooseFileWriteGuid(current: HeaderState): string;
  /** The bytes of a range of the virtual disk may change from here on; noted so that it survives a power cut. */
  beforeChange(offset: number, length: number): void;
  /** The disk has another size from here on; what was added counts as changed. */
  resized(sizeBytes: number): void;
  /** The image was flushed: a good moment for writing down what need not be written down at once. */
  flushed(): void;
  /** Writing has ended in order, and this is the header that it left. */
  ended(state: ImageState): void;
  /** Lets go of everything. Idempotent. */
  close(): void;
}
