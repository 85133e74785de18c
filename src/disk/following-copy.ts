/** A run of the source: bytes to copy, zeros, or what the copy has nothing to do with. */
export interface CopyRun {
  readonly offset: number;
  readonly length: number;
  readonly kind: 'data' | 'zero' | 'other';
}

export interface CopySource {
  readonly sizeBytes: number;
  read(offset: number, target: Uint8Array, targetStart: number, length: number): void;
  runs(offset: number, length: number): Iterable<CopyRun>;
}

export interface CopyTarget {
  write(offset: number, source: Uint8Array, sourceStart: number, length: number): void;
  writeZeroes(offset: number, length: number, mayUnmap: boolean): void;
}

export interface FollowingCopyOptions {
  /** The target reads as zero everywhere: zeros need no copying. */
  readonly isTargetBlank: boolean;
  /** Data that is all zeros becomes zeros that take no space; of a blank target, always. Default false. */
  readonly findZeroes?: boolean;
}

/** So much at once holds up whoever waits for the disk by well under a millisecond. */
const SLICE_BYTES = 256 * 1024;
/** Runs without data cost a look only; so many make a slice as well. */
const SLICE_RUNS = 512;
/** How far ahead runs are asked for at once. */
const LOOK_AHEAD_BYTES = 64 * 1024 * 1024;
const ZEROS = new Uint8Array(SLICE_BYTES);

/**
 * Copies a disk that is being written to, slice by slice. What lies behind its position is the same on both sides and
 * stays so, because every change of the source is made known and repeated there; what lies ahead will be met on the way.
 * One pass is enough however fast the source is written to. Everything is synchronous, so that nothing comes between.
 *
 *     source   [======= same =======|........ to come ........]
 *     target   [======= same =======| untouched               ]
 *                                   position
 */
export class FollowingCopy {
  readonly sizeBytes: number;
  readonly #source: CopySource;
  readonly #target: CopyTarget;
  readonly #isTargetBlank: boolean;
  readonly #findZeroes: boolean;
  readonly #buffer = new Uint8Array(SLICE_BYTES);
  #position = 0;

  constructor(source: CopySource, target: CopyTarget, options: FollowingCopyOptions) {
    this.sizeBytes = source.sizeBytes;
    this.#source = source;
    this.#target = target;
    this.#isTargetBlank = options.isTargetBlank;
    this.#findZeroes = options.isTargetBlank || options.findZeroes === true;
  }

  get position(): number {
    return this.#position;
  }

  get isComplete(): boolean {
    return this.#position === this.sizeBytes;
  }

  /** Copies the next slice. A failure leaves the position where it was. @throws what source and target throw */
  step(): void {
    let bytes = 0;
    let runs = 0;
    const ahead = Math.min(LOOK_AHEAD_BYTES, this.sizeBytes - this.#position);
    for (const { offset, length, kind } of this.#source.runs(this.#position, ahead)) {
      const count = kind === 'data' ? Math.min(length, SLICE_BYTES - bytes) : length;
      if (kind === 'data') {
        this.#copy(offset, count);
        bytes += count;
      } else if (kind === 'zero') this.#zero(offset, count);
      this.#position = offset + count;
      if (bytes === SLICE_BYTES || ++runs === SLICE_RUNS) return;
    }
  }

  /** The source was written to. @throws what the target throws */
  wrote(offset: number, source: Uint8Array, sourceStart: number, length: number): void {
    const behind = Math.min(length, this.#position - offset);
    if (behind > 0) this.#target.write(offset, source, sourceStart, behind);
  }

  zeroed(offset: number, length: number, mayUnmap: boolean): void {
    const behind = Math.min(length, this.#position - offset);
    if (behind > 0) this.#target.writeZeroes(offset, behind, mayUnmap);
  }

  /** The source was trimmed: what has become zero there becomes zero here, whatever the target would make of a trim. */
  trimmed(offset: number, length: number): void {
    const behind = Math.min(length, this.#position - offset);
    if (behind <= 0) return;
    for (const run of this.#source.runs(offset, behind)) {
      if (run.kind === 'zero') this.#target.writeZeroes(run.offset, run.length, true);
    }
  }

  #copy(offset: number, length: number): void {
    this.#source.read(offset, this.#buffer, 0, length);
    if (this.#findZeroes && isZero(this.#buffer, length)) this.#zero(offset, length);
    else this.#target.write(offset, this.#buffer, 0, length);
  }

  #zero(offset: number, length: number): void {
    if (!this.#isTargetBlank) this.#target.writeZeroes(offset, length, true);
  }
}

function isZero(bytes: Uint8Array, length: number): boolean {
  if (bytes[0] !== 0 || bytes[length - 1] !== 0) return false;
  return Buffer.compare(bytes.subarray(0, length), ZEROS.subarray(0, length)) === 0;
}
