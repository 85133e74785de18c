import { roundUp } from '../../binary/index.ts';
import type { ByteStore } from '../../store/index.ts';
import { BulkPlaces } from '../bulk-places.ts';
import type { BulkPlace, BulkTarget } from '../bulk-target.ts';
import { descriptor } from './descriptor.ts';
import {
  VMDK_HEADER_AT as AT,
  DESCRIPTOR_OFFSET,
  DESCRIPTOR_SECTORS,
  ENTRIES_PER_TABLE,
  ENTRY_BYTES,
  FLAGS,
  GRAIN_BYTES,
  GRAIN_SECTORS,
  LINE_ENDS,
  SECTOR,
  TABLE_SECTORS,
  VMDK_MAGIC,
} from './format.ts';

const VERSION = 1;

export interface NewVmdk {
  readonly virtualSizeBytes: number;
  /** The name that the file will have, without its folder. */
  readonly fileName: string;
}

/**
 * Starts a new disk of one sparse extent in an empty store, to be filled before it is used: header, descriptor, the
 * tables twice, then the grains in the order of the questions.
 * @throws HvError `no-space`, `io`
 */
export function startVmdk(store: ByteStore, spec: NewVmdk): BulkTarget {
  return new VmdkWriter(store, spec);
}

/** A grain directory, and its tables in a row behind it; in sectors. */
interface Tables {
  readonly directoryOffset: number;
  readonly tablesOffset: number;
}

class VmdkWriter implements BulkTarget {
  readonly #store: ByteStore;
  readonly #spec: NewVmdk;
  readonly #tableCount: number;
  /** The redundant copy and the first. */
  readonly #copies: readonly [Tables, Tables];
  readonly #overheadSectors: number;
  readonly #places: BulkPlaces;

  constructor(store: ByteStore, spec: NewVmdk) {
    this.#store = store;
    this.#spec = spec;
    this.#tableCount = Math.ceil(spec.virtualSizeBytes / (ENTRIES_PER_TABLE * GRAIN_BYTES));
    const directorySectors = Math.ceil((this.#tableCount * ENTRY_BYTES) / SECTOR);
    const copySectors = directorySectors + this.#tableCount * TABLE_SECTORS;
    const copyAt = (directoryOffset: number): Tables => ({
      directoryOffset,
      tablesOffset: directoryOffset + directorySectors,
    });
    const firstCopy = DESCRIPTOR_OFFSET + DESCRIPTOR_SECTORS;
    this.#copies = [copyAt(firstCopy), copyAt(firstCopy + copySectors)];
    this.#overheadSectors = roundUp(firstCopy + 2 * copySectors, GRAIN_SECTORS);
    this.#places = new BulkPlaces({
      unitBytes: GRAIN_BYTES,
      dataStart: this.#overheadSectors * SECTOR,
      unitsPerTable: ENTRIES_PER_TABLE,
      // Tables hold sectors in 32 bits.
      maxUnits: Math.max(0, Math.floor((2 ** 32 - this.#overheadSectors) / GRAIN_SECTORS)),
    });
  }

  place(offset: number, length: number): BulkPlace {
    return this.#places.place(offset, length);
  }

  finish(): void {
    this.#store.setSize(this.#places.end);
    for (const copy of this.#copies) this.#writeDirectory(copy);
    for (const [index, numbers] of this.#places.tables()) this.#writeTable(index, numbers);
    this.#write(DESCRIPTOR_OFFSET, descriptor(this.#spec.virtualSizeBytes, this.#spec.fileName));
    this.#write(0, this.#header());
  }

  /** Every table is there, those that hold nothing too. */
  #writeDirectory({ directoryOffset, tablesOffset }: Tables): void {
    const entries = Buffer.alloc(this.#tableCount * ENTRY_BYTES);
    for (let table = 0; table < this.#tableCount; table++) {
      entries.writeUInt32LE(tablesOffset + table * TABLE_SECTORS, table * ENTRY_BYTES);
    }
    this.#write(directoryOffset, entries);
  }

  #writeTable(index: number, numbers: Uint32Array): void {
    const entries = Buffer.alloc(ENTRIES_PER_TABLE * ENTRY_BYTES);
    for (const [grain, number] of numbers.entries()) {
      if (number !== 0) {
        entries.writeUInt32LE(this.#overheadSectors + (number - 1) * GRAIN_SECTORS, grain * ENTRY_BYTES);
      }
    }
    for (const { tablesOffset } of this.#copies) this.#write(tablesOffset + index * TABLE_SECTORS, entries);
  }

  #header(): Buffer {
    const [redundant, first] = this.#copies;
    const bytes = Buffer.alloc(SECTOR);
    bytes.writeUInt32LE(VMDK_MAGIC, AT.magic);
    bytes.writeUInt32LE(VERSION, AT.version);
    bytes.writeUInt32LE(FLAGS, AT.flags);
    bytes.writeBigUInt64LE(BigInt(this.#spec.virtualSizeBytes / SECTOR), AT.capacity);
    bytes.writeBigUInt64LE(BigInt(GRAIN_SECTORS), AT.grainSize);
    bytes.writeBigUInt64LE(BigInt(DESCRIPTOR_OFFSET), AT.descriptorOffset);
    bytes.writeBigUInt64LE(BigInt(DESCRIPTOR_SECTORS), AT.descriptorSize);
    bytes.writeUInt32LE(ENTRIES_PER_TABLE, AT.entriesPerTable);
    bytes.writeBigUInt64LE(BigInt(redundant.directoryOffset), AT.redundantDirectoryOffset);
    bytes.writeBigUInt64LE(BigInt(first.directoryOffset), AT.directoryOffset);
    bytes.writeBigUInt64LE(BigInt(this.#overheadSectors), AT.overhead);
    bytes.write(LINE_ENDS, AT.lineEnds, 'latin1');
    return bytes;
  }

  #write(sector: number, bytes: Uint8Array): void {
    this.#store.write(sector * SECTOR, bytes, 0, bytes.length);
  }
}
