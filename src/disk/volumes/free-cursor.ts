import type { FreeRange } from '../../formats/file-system.ts';

/** Goes along the free space of a disk's volumes, in step with somebody who goes along the disk. */
export class FreeCursor {
  readonly #ranges: Iterator<FreeRange>;
  #current: FreeRange | undefined;

  /** @param volumes in the disk's order, none over another */
  constructor(volumes: readonly { freeRanges(): Iterable<FreeRange> }[]) {
    this.#ranges = (function* () {
      for (const volume of volumes) yield* volume.freeRanges();
    })();
    this.#next();
  }

  /** What is free of a range, in order; each call's range starts where the one before ended, or after. */
  within(offset: number, length: number): FreeRange[] {
    const found: FreeRange[] = [];
    const end = offset + length;
    while (this.#current && this.#current.offset < end) {
      const { offset: start, length: size } = this.#current;
      const from = Math.max(offset, start);
      const to = Math.min(end, start + size);
      if (from < to) found.push({ offset: from, length: to - from });
      if (start + size > end) break;
      this.#next();
    }
    return found;
  }

  #next(): void {
    const { done, value } = this.#ranges.next();
    this.#current = done ? undefined : value;
  }
}
