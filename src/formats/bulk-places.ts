import { HvError } from '../errors/index.ts';
import type { BulkPlace } from './bulk-target.ts';

export interface BulkPlacesLayout {
  /** Of a unit of allocation: a cluster, a grain, a block. */
  readonly unitBytes: number;
  /** Where the first unit lies in the file. */
  readonly dataStart: number;
  /** So many units have their places in one table; where nothing lies, no table is held. */
  readonly unitsPerTable: number;
  /** As many units as the file's tables can point at. */
  readonly maxUnits: number;
}

/** Gives the units of a disk their places in a new file: one behind the other, in the order of the questions. */
export class BulkPlaces {
  readonly #layout: BulkPlacesLayout;
  /** The number of each unit in the file, counted from 1; 0 has none. */
  readonly #tables = new Map<number, Uint32Array>();
  #count = 0;

  constructor(layout: BulkPlacesLayout) {
    this.#layout = layout;
  }

  /** Of units that have a place. */
  get count(): number {
    return this.#count;
  }

  /** Behind the last unit. */
  get end(): number {
    return this.#layout.dataStart + this.#count * this.#layout.unitBytes;
  }

  /** Those tables in which something stands, in order: which it is, and its units' numbers in the file, from 1; 0 has no place. */
  tables(): readonly (readonly [index: number, numbers: Uint32Array])[] {
    return [...this.#tables].sort(([a], [b]) => a - b);
  }

  /** @throws HvError `unsupported` when the file's tables cannot point that far */
  place(offset: number, length: number): BulkPlace {
    const { unitBytes, dataStart } = this.#layout;
    const unit = Math.floor(offset / unitBytes);
    const inUnit = offset - unit * unitBytes;
    const first = this.#numberOf(unit, true);
    let rowBytes = unitBytes - inUnit;
    for (let next = 1; rowBytes < length; next++) {
      // A unit without a place joins the row where the row ends the file.
      const number = this.#numberOf(unit + next, first + next === this.#count + 1);
      if (number !== first + next) break;
      rowBytes += unitBytes;
    }
    return { fileOffset: dataStart + (first - 1) * unitBytes + inUnit, length: Math.min(rowBytes, length) };
  }

  #numberOf(unit: number, mayAllocate: boolean): number {
    const { unitsPerTable } = this.#layout;
    const index = Math.floor(unit / unitsPerTable);
    const entry = unit % unitsPerTable;
    let table = this.#tables.get(index);
    const number = table?.[entry] ?? 0;
    if (number !== 0 || !mayAllocate) return number;
    this.#mustHaveAnother();
    if (!table) {
      table = new Uint32Array(unitsPerTable);
      this.#tables.set(index, table);
    }
    table[entry] = ++this.#count;
    return this.#count;
  }

  #mustHaveAnother(): void {
    const { maxUnits, unitBytes } = this.#layout;
    if (this.#count < maxUnits) return;
    throw new HvError('unsupported', 'the disk holds more data than a file of this format can', {
      detail: { maxBytes: maxUnits * unitBytes },
      hint: 'Choose another format.',
    });
  }
}
