import type { ByteStore } from '../../store/index.ts';
import { MIB } from './format.ts';
import type { Occupancy } from './occupancy.ts';

export interface Range {
  readonly fileOffset: number;
  readonly length: number;
}

interface FreedRange extends Range {
  /** The log entry that took away the last pointer to it. */
  readonly sequence: number;
}

function mergeRanges(ranges: readonly Range[]): Range[] {
  const merged: Range[] = [];
  for (const range of [...ranges].sort((a, b) => a.fileOffset - b.fileOffset)) {
    const last = merged.at(-1);
    if (last && last.fileOffset + last.length === range.fileOffset) {
      merged[merged.length - 1] = { fileOffset: last.fileOffset, length: last.length + range.length };
    } else {
      merged.push(range);
    }
  }
  return merged;
}

/**
 * Space in the file for blocks. What is handed out reads as zero and is never pointed at by anything durable, so that
 * neither crash model shows stale bytes. A range that was given back goes through three stages:
 *
 *     freed --its log entry is durable--> punched --a flush after the punching--> available
 */
export class SpaceAllocator {
  readonly #store: ByteStore;
  readonly #occupancy: Occupancy;
  #end: number;
  #freed: FreedRange[] = [];
  #punched: Range[] = [];
  #available: Range[] = [];

  constructor(store: ByteStore, occupancy: Occupancy, end: number) {
    this.#store = store;
    this.#occupancy = occupancy;
    this.#end = end;
  }

  /** Everything that the file holds ends before this; a multiple of 1 MiB. */
  get endOffset(): number {
    return this.#end;
  }

  /** Hands out `length` bytes of zeros; length is a multiple of 1 MiB. @throws HvError `no-space`, `io` */
  allocate(length: number): number {
    const index = this.#available.findIndex((range) => range.length >= length);
    const range = this.#available[index];
    if (range) {
      if (range.length === length) this.#available.splice(index, 1);
      else this.#available[index] = { fileOffset: range.fileOffset + length, length: range.length - length };
      this.#occupancy.take(range.fileOffset, length);
      return range.fileOffset;
    }
    const fileOffset = this.#end;
    this.#store.setSize(fileOffset + length);
    this.#end += length;
    this.#occupancy.take(fileOffset, length);
    return fileOffset;
  }

  /** Takes back an allocation that nothing points at, whatever was written there. @throws HvError `io` */
  cancel(fileOffset: number, length: number): void {
    this.#occupancy.release(fileOffset, length);
    if (fileOffset + length === this.#end) {
      this.#end = fileOffset;
      this.#store.setSize(fileOffset);
    } else {
      this.#freed.push({ fileOffset, length, sequence: 0 });
    }
  }

  /** Gives up the available space at the end. @returns the file's new end, or undefined where its end is in use */
  takeEnd(): number | undefined {
    this.#available = mergeRanges(this.#available);
    const last = this.#available.at(-1);
    if (!last || last.fileOffset + last.length !== this.#end) return undefined;
    this.#available.pop();
    this.#end = last.fileOffset;
    return this.#end;
  }

  /** Gives a range back; log entry `sequence` is the one that no longer points at it. */
  free(fileOffset: number, length: number, sequence: number): void {
    this.#occupancy.release(fileOffset, length);
    this.#freed.push({ fileOffset, length, sequence });
  }

  /** What was punched before a flush that begins now; makeAvailable() takes it when that flush is done. */
  takePunched(): readonly Range[] {
    const punched = this.#punched;
    this.#punched = [];
    return punched;
  }

  makeAvailable(ranges: readonly Range[]): void {
    this.#available.push(...ranges);
  }

  /** Punches what no durable entry points at any more. @throws HvError `io` */
  punchFreed(durableSequence: number): void {
    if (this.#freed.length === 0) return;
    const later: FreedRange[] = [];
    for (const range of this.#freed) {
      if (range.sequence > durableSequence) {
        later.push(range);
      } else {
        this.#store.punchHole(range.fileOffset, range.length);
        this.#punched.push({ fileOffset: range.fileOffset, length: range.length });
      }
    }
    this.#freed = later;
  }

  /**
   * Counts gaps between the file's structures as freed: their contents are unknown, and nothing points at them. No
   * flush may be under way: what one has taken along would be counted twice.
   */
  adoptGaps(): void {
    const known = [...this.#freed, ...this.#punched, ...this.#available];
    for (const { fileOffset, length } of known) this.#occupancy.take(fileOffset, length);
    for (const { fileOffset, length } of this.#occupancy.gaps(this.#end)) {
      if (fileOffset >= MIB) this.#freed.push({ fileOffset, length, sequence: 0 });
    }
    for (const { fileOffset, length } of known) this.#occupancy.release(fileOffset, length);
  }

  /** Whether anything was given back that a later block, or the file system, could have. */
  get hasFree(): boolean {
    return this.#freed.length + this.#punched.length + this.#available.length > 0;
  }

  /** Hands over all available ranges, in order, neighbours joined; makeAvailable() takes back what is left of them. */
  takeAvailable(): readonly Range[] {
    const ranges = mergeRanges(this.#available);
    this.#available = [];
    return ranges;
  }

  /** A part of a range from takeAvailable() is in use from now on. */
  occupy(fileOffset: number, length: number): void {
    this.#occupancy.take(fileOffset, length);
  }
}
