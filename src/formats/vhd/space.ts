import { roundUp } from '../../binary/index.ts';
import { HvError, isHvError } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import type { BlockTable } from './block-table.ts';
import { FOOTER_BYTES, PAYLOAD_ALIGNMENT, SECTOR, UNUSED_ENTRY } from './format.ts';

/** This many bytes of blocks are made ready at once at most. */
const MAX_BATCH_BYTES = 32 * 1024 * 1024;

export interface SpaceOptions {
  readonly bitmapBytes: number;
  /** How many blocks the disk has. */
  readonly blockCount: number;
  /** What a new block's sector bitmap holds: 0xff, or 0 above a parent. */
  readonly bitmapFill: number;
  /** Make blocks ready ahead, in the background. */
  readonly inBackground: boolean;
}

/**
 * Space in the file for blocks. VHD has no log, so what may be pointed at must be durable before: a block is made ready
 * (zeros, its sector bitmap, the footer moved behind it), and a flush comes before it is handed out. Blocks are made ready
 * in batches and ahead, so that few writes wait for such a flush.
 *
 *     beyond the end --+-> made ready --flush--> ready --take()--> in use --free(), punched--> free
 *     free ------------+
 */
export class SpaceAllocator {
  readonly #store: ByteStore;
  readonly #table: BlockTable;
  readonly #options: SpaceOptions;
  readonly #isAligned: boolean;
  /** The trailing footer's bytes. */
  readonly #footer: () => Uint8Array;
  /** Blocks in use, being made ready, ready and free end before this. */
  #end: number;
  /** Nothing is known of what the file holds behind #end. */
  #isTailUnknown = true;
  #used: number;
  #batch = 1;
  #free: number[];
  #making: number[] = [];
  #ready: number[] = [];
  #background: Promise<void> | undefined;

  constructor(store: ByteStore, table: BlockTable, footer: () => Uint8Array, options: SpaceOptions) {
    this.#store = store;
    this.#table = table;
    this.#footer = footer;
    this.#options = options;
    this.#end = table.endOffset();
    this.#used = table.countUsed();
    const aligned = roundUp(table.strideBytes, PAYLOAD_ALIGNMENT);
    // With small blocks the padding of the largest disks would lie beyond what 32 bits can point at.
    this.#isAligned = (this.#end + PAYLOAD_ALIGNMENT + options.blockCount * aligned) / SECTOR < UNUSED_ENTRY;
    this.#free = this.#findGaps();
  }

  /** Hands out a block: zeros and its bitmap, durable; nothing points at it. @returns where its bitmap lies @throws HvError `no-space`, `io` */
  take(): number {
    if (this.#ready.length === 0) {
      if (this.#making.length === 0) this.#make();
      this.#store.flushSync();
      this.#madeReady();
    }
    const offset = this.#ready.shift() as number; // #make() throws where it makes none
    this.#used++;
    this.#makeMore();
    return offset;
  }

  /**
   * Gives back a block of which no entry in memory says anything any more. Until a flush a durable entry may still point
   * there: it must be one under which zeros are right. Before the place is handed out again a flush comes in any case.
   * @throws HvError `io`
   */
  free(offset: number): void {
    this.#used--;
    this.#free.push(offset);
    this.#store.punchHole(offset, this.#table.strideBytes);
  }

  /** Places in the file's middle that are free, nearest to its start first. */
  get freePlaces(): readonly number[] {
    return [...this.#free].sort((a, b) => a - b);
  }

  /** Waits for what goes on in the background; its failures are the business of who needs space next. */
  async settle(): Promise<void> {
    await this.#background;
  }

  /**
   * The end of this allocator: cuts off what lies behind the last block and writes the footer there. Everything before is
   * durable already. @throws HvError `io`, `no-space`
   */
  cut(): void {
    this.#ready = [];
    this.#making = [];
    this.#free = [];
    this.#end = this.#table.endOffset();
    this.#isTailUnknown = true;
    const fileSize = this.#end + FOOTER_BYTES;
    this.#store.write(this.#end, this.#footer(), 0, FOOTER_BYTES);
    this.#store.flushSync();
    if (this.#store.size() === fileSize) return;
    this.#store.setSize(fileSize);
    this.#store.flushSync();
  }

  #makeMore(): void {
    const isEnough = this.#ready.length + this.#making.length > this.#batch / 2;
    if (!this.#options.inBackground || this.#background || isEnough || this.#wanted() <= 0) return;
    try {
      this.#make();
    } catch (error) {
      // Somebody who really needs the space will hear of it.
      if (isHvError(error, 'no-space')) return;
      throw error;
    }
    this.#background = this.#store.flush().then(
      () => {
        this.#background = undefined;
        this.#madeReady();
      },
      () => {
        // The store remembers that a flush failed, and the next one says so.
        this.#background = undefined;
      },
    );
  }

  #madeReady(): void {
    this.#ready.push(...this.#making);
    this.#making = [];
  }

  /** How many blocks the disk may still ask for. */
  #wanted(): number {
    return this.#options.blockCount - this.#used - this.#ready.length - this.#making.length;
  }

  /** Makes a batch ready, all but the flush. @throws HvError `no-space`, `io` */
  #make(): void {
    const count = Math.max(1, Math.min(this.#batch, this.#wanted()));
    const reused = this.#free.slice(0, count);
    for (const offset of reused) this.#store.punchHole(offset, this.#table.strideBytes);
    const made = [...reused];
    let end = this.#end;
    while (made.length < count) {
      const offset = this.#place(end);
      if (offset / SECTOR >= UNUSED_ENTRY) break;
      made.push(offset);
      end = offset + this.#table.strideBytes;
    }
    if (made.length === 0) {
      throw new HvError('no-space', `${this.#store.name} is as large as a VHD file can be`, {
        detail: { path: this.#store.name },
      });
    }
    const isGrowing = end > this.#end;
    if (isGrowing) this.#grow(end);
    const bitmap = new Uint8Array(this.#options.bitmapBytes).fill(this.#options.bitmapFill);
    if (this.#options.bitmapFill !== 0) for (const offset of made) this.#store.write(offset, bitmap, 0, bitmap.length);
    this.#free.splice(0, reused.length);
    this.#end = end;
    if (isGrowing) this.#isTailUnknown = false;
    this.#making.push(...made);
    this.#batch = Math.max(1, Math.min(this.#batch * 2, Math.floor(MAX_BATCH_BYTES / this.#table.strideBytes)));
  }

  /** The file grows with its footer, in one write; only then the old footer and whatever else lay behind the end go. */
  #grow(end: number): void {
    const oldSize = this.#store.size();
    this.#store.write(end, this.#footer(), 0, FOOTER_BYTES);
    if (oldSize > end + FOOTER_BYTES) this.#store.setSize(end + FOOTER_BYTES);
    const from = this.#end;
    const length = Math.min(this.#isTailUnknown ? oldSize : from + FOOTER_BYTES, end) - from;
    this.#isTailUnknown = true;
    if (length > 0) this.#store.punchHole(from, length);
  }

  /** The first place for a block at or behind a position. */
  #place(from: number): number {
    if (!this.#isAligned) return roundUp(from, SECTOR);
    return roundUp(from + this.#options.bitmapBytes, PAYLOAD_ALIGNMENT) - this.#options.bitmapBytes;
  }

  /** Places between blocks where another fits: what earlier lives of the file left. */
  #findGaps(): number[] {
    const found: number[] = [];
    const { strideBytes } = this.#table;
    if (this.#table.gapBytes() < strideBytes) return found;
    for (const { fileOffset, length } of this.#table.gaps()) {
      const end = fileOffset + length;
      for (let from = fileOffset; ; ) {
        // Files by others are not aligned: then what a block left is just large enough for another.
        const aligned = this.#place(from);
        const offset = aligned + strideBytes <= end ? aligned : roundUp(from, SECTOR);
        if (offset + strideBytes > end) break;
        found.push(offset);
        from = offset + strideBytes;
      }
    }
    return found;
  }
}
