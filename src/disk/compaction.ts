import { type LongOptions, throttleProgress, throwIfAborted } from '../async/index.ts';
import type { DiskImage, HeldBlock, ParentDisk } from '../formats/disk-image.ts';
import type { FreeRange } from '../formats/file-system.ts';
import { nextData, nextHole, punchHole } from '../system/index.ts';
import { findVolumes, type Volume } from './volumes/find-volumes.ts';
import { FreeCursor } from './volumes/free-cursor.ts';

/** A shorter piece is left where it is: a hole would cost more than it gives back. */
const MIN_PIECE_BYTES = 64 * 1024;
const PAGE_BYTES = 4096;
const SCAN_BYTES = 1 << 20;
const ZEROS = Buffer.alloc(SCAN_BYTES);
/** So often a long run of blocks lets others have their turn. */
const TURN_MS = 20;

export interface CompactImageOptions extends LongOptions {
  /** Free blocks that hold nothing but zeros, and make longer runs of zeros in others holes of the file; default true. */
  readonly zero?: boolean | undefined;
  /** Free what clean file systems in the disk hold free; default true. It is gone then, as after a trim. */
  readonly freeSpace?: boolean | undefined;
  /** Look at everything, change nothing. */
  readonly dryRun?: boolean | undefined;
}

/** Blocks, or pieces of them that took space of the host's, by what they were free for. */
export interface Freed {
  readonly freedZeroBytes: number;
  readonly freedUnmappedBytes: number;
  readonly freedFileSystemBytes: number;
}

/**
 * Compacts an open image: what compactVhd does to a file. Everything of it is durable when it returns.
 * @param parent what a differencing image stands on
 */
export async function compactImage(
  image: DiskImage,
  parent: ParentDisk | undefined,
  options: CompactImageOptions = {},
): Promise<Freed & { readonly volumes: readonly Volume[] }> {
  const { signal, onProgress, dryRun = false } = options;
  const report = throttleProgress(onProgress);
  report({ phase: 'examine', done: 0, total: 1 });
  const volumes = options.freeSpace === false ? [] : findVolumes(image);
  report({ phase: 'examine', done: 1, total: 1 });
  const freed = await new Compaction(image, parent, options).run(volumes);
  if (!dryRun) {
    await image.reclaimSpace({ signal, onProgress });
    await image.flush();
  }
  return { ...freed, volumes };
}

/** A piece of the disk that takes space of the host's, and where. */
interface HostRange extends FreeRange {
  readonly fd: number | undefined;
  readonly fileOffset: number;
}

/** One walk over the blocks that hold space. */
class Compaction {
  readonly #image: DiskImage;
  readonly #parent: ParentDisk | undefined;
  readonly #options: CompactImageOptions;
  readonly #isApplying: boolean;
  readonly #buffer = Buffer.alloc(SCAN_BYTES);
  #zeroBytes = 0;
  #unmappedBytes = 0;
  #fileSystemBytes = 0;
  /** Until a host's file system says that its files have none. */
  #hasHoles = true;

  constructor(image: DiskImage, parent: ParentDisk | undefined, options: CompactImageOptions) {
    this.#image = image;
    this.#parent = parent;
    this.#options = options;
    this.#isApplying = options.dryRun !== true;
  }

  async run(volumes: readonly Volume[]): Promise<Freed> {
    const { signal, onProgress } = this.#options;
    const free = new FreeCursor(volumes);
    const report = throttleProgress(onProgress);
    const total = this.#image.sizeBytes;
    let turn = performance.now();
    for (const held of this.#image.heldBlocks()) {
      this.#look(held, free.within(held.offset, held.length));
      if (performance.now() - turn < TURN_MS) continue;
      report({ phase: 'compact', done: held.offset + held.length, total });
      await new Promise(setImmediate);
      throwIfAborted(signal, 'compacting');
      turn = performance.now();
    }
    report({ phase: 'compact', done: total, total });
    return {
      freedZeroBytes: this.#zeroBytes,
      freedUnmappedBytes: this.#unmappedBytes,
      freedFileSystemBytes: this.#fileSystemBytes,
    };
  }

  #look(held: HeldBlock, free: readonly FreeRange[]): void {
    const { offset, length, kind } = held;
    const blockBytes = this.#image.blockSizeBytes ?? length;
    if (kind === 'unused') {
      if (!this.#isApplying || this.#image.releaseZeroBlock(offset)) this.#unmappedBytes += blockBytes;
      return;
    }
    const freeBytes = free.reduce((sum, range) => sum + range.length, 0);
    const mayBeZero = this.#options.zero !== false || freeBytes === length;
    if (mayBeZero && this.#isZeroOutside(held, free)) {
      if (freeBytes === 0) {
        if (this.#release(held)) this.#zeroBytes += blockBytes;
        return;
      }
      if (this.#drop(held)) {
        this.#fileSystemBytes += blockBytes;
        return;
      }
    }
    if (kind === 'whole') for (const range of free) this.#punch(range);
    if (this.#options.zero !== false) for (const range of outside(held, free)) this.#punchZeros(range);
  }

  /** A block that reads as zero: freeing it changes nothing that the disk holds. */
  #release({ offset, length }: HeldBlock): boolean {
    if (this.#isApplying) return this.#image.releaseZeroBlock(offset);
    return this.#mayFree(offset, length);
  }

  /** A block whose contents are nobody's, or zeros. */
  #drop({ offset, length }: HeldBlock): boolean {
    if (!this.#mayFree(offset, length)) return false;
    if (!this.#isApplying) return true;
    if (this.#image.type === 'dynamic') this.#image.trim(offset, length);
    // Of a child the block must not show its parent's: it stays its own, as zeros.
    else this.#image.writeZeroes(offset, length, true);
    return true;
  }

  /** VHD has no mark for zeros: what a child of that format frees shows its parent's. */
  #mayFree(offset: number, length: number): boolean {
    if (this.#image.format !== 'vhd' || this.#image.type !== 'differencing' || !this.#parent) return true;
    const inParent = Math.min(length, this.#parent.sizeBytes - offset);
    for (let done = 0; done < inParent; done += SCAN_BYTES) {
      const count = Math.min(SCAN_BYTES, inParent - done);
      this.#parent.read(offset + done, this.#buffer, 0, count);
      if (!isZero(this.#buffer, count)) return false;
    }
    return true;
  }

  /** Makes free pieces of a block that stays holes of the host's file. */
  #punch({ offset, length }: FreeRange): void {
    const start = Math.ceil(offset / PAGE_BYTES) * PAGE_BYTES;
    const end = Math.floor((offset + length) / PAGE_BYTES) * PAGE_BYTES;
    if (end - start < MIN_PIECE_BYTES) return;
    const held = [...this.#dataOf(start, end - start)].reduce((sum, range) => sum + range.length, 0);
    if (held < PAGE_BYTES) return;
    if (this.#isApplying) this.#image.writeZeroes(start, end - start, true);
    this.#fileSystemBytes += held;
  }

  /**
   * Makes pieces of zeros in a block that stays holes of the host's file: neither the file's bytes nor its length change,
   * so nothing of the format has to know.
   */
  #punchZeros({ offset, length }: FreeRange): void {
    for (const data of this.#dataOf(offset, length)) {
      if (!this.#hasHoles) return;
      if (data.fd === undefined) continue;
      for (const piece of this.#zeroPieces(data)) {
        const fileOffset = data.fileOffset + piece.offset - data.offset;
        if (this.#isApplying) this.#hasHoles = punchHole(data.fd, fileOffset, piece.length);
        if (!this.#hasHoles) return;
        this.#zeroBytes += piece.length;
      }
    }
  }

  /** Runs of zeros, each as long as makes a hole worth while, in whole pages of the host's file. */
  *#zeroPieces({ offset, length, fileOffset }: HostRange): Generator<FreeRange> {
    const first = (PAGE_BYTES - (fileOffset % PAGE_BYTES)) % PAGE_BYTES;
    const end = offset + first + Math.floor(Math.max(0, length - first) / MIN_PIECE_BYTES) * MIN_PIECE_BYTES;
    let zeros = 0;
    for (let at = offset + first; at < end; ) {
      const count = Math.min(SCAN_BYTES, end - at);
      this.#image.read(at, this.#buffer, 0, count);
      for (let done = 0; done < count; done += MIN_PIECE_BYTES) {
        const piece = this.#buffer.subarray(done, done + MIN_PIECE_BYTES);
        if (isZero(piece, MIN_PIECE_BYTES)) {
          zeros += MIN_PIECE_BYTES;
          continue;
        }
        if (zeros > 0) yield { offset: at + done - zeros, length: zeros };
        zeros = 0;
      }
      at += count;
    }
    if (zeros > 0) yield { offset: end - zeros, length: zeros };
  }

  /** The pieces of a range of a block that the host's file holds: the rest is holes, which read as zero. */
  *#dataOf(offset: number, length: number): Generator<HostRange> {
    for (const segment of this.#image.segments(offset, length)) {
      if (segment.kind !== 'data' || segment.depth !== 0) continue;
      const fd = segment.store?.fd;
      if (fd === undefined) {
        yield { offset: segment.offset, length: segment.length, fd, fileOffset: segment.fileOffset };
        continue;
      }
      const end = segment.fileOffset + segment.length;
      for (let at = segment.fileOffset; at < end; ) {
        const data = Math.min(end, nextData(fd, at) ?? end);
        if (data === end) break;
        const hole = Math.min(end, nextHole(fd, data));
        yield { offset: segment.offset + (data - segment.fileOffset), length: hole - data, fd, fileOffset: data };
        at = hole;
      }
    }
  }

  /** Whether everything of a block but its free ranges reads as zero. */
  #isZeroOutside(held: HeldBlock, free: readonly FreeRange[]): boolean {
    for (const { offset, length } of outside(held, free)) if (!this.#isZeroRange(offset, length)) return false;
    return true;
  }

  #isZeroRange(offset: number, length: number): boolean {
    // Most blocks show at once that they hold something.
    const first = Math.min(PAGE_BYTES, length);
    this.#image.read(offset, this.#buffer, 0, first);
    if (!isZero(this.#buffer, first)) return false;
    for (let done = first; done < length; done += SCAN_BYTES) {
      const count = Math.min(SCAN_BYTES, length - done);
      this.#image.read(offset + done, this.#buffer, 0, count);
      if (!isZero(this.#buffer, count)) return false;
    }
    return true;
  }
}

/** What of a block is in none of the ranges. */
function* outside({ offset, length }: HeldBlock, ranges: readonly FreeRange[]): Generator<FreeRange> {
  let at = offset;
  for (const range of [...ranges, { offset: offset + length, length: 0 }]) {
    if (range.offset > at) yield { offset: at, length: range.offset - at };
    at = range.offset + range.length;
  }
}

function isZero(buffer: Buffer, length: number): boolean {
  return buffer.subarray(0, length).equals(ZEROS.subarray(0, length));
}
