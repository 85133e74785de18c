import { roundUp } from '../../binary/index.ts';
import type { ByteStore } from '../../store/index.ts';
import type { BulkPlace, BulkTarget } from '../bulk-target.ts';
import { tableGeometry } from './block-table.ts';
import { createVhdx, defaultBlockSize, type NewVhdx } from './create.ts';
import { BAT_ENTRY_BYTES, MIB, NEW_FILE, PAYLOAD } from './format.ts';

const ENTRIES_PER_CHUNK = MIB / BAT_ENTRY_BYTES;

/**
 * Starts a new fixed or dynamic disk in an empty store, to be filled before it is used: payload first, one block behind
 * the other in the order of the questions, then the block allocation table once.
 * @throws HvError `invalid-argument`, `no-space`, `io`
 */
export function startVhdx(store: ByteStore, spec: NewVhdx & { readonly type: 'fixed' | 'dynamic' }): BulkTarget {
  createVhdx(store, spec);
  const blockSize = spec.blockSizeBytes ?? defaultBlockSize(spec.type);
  const { chunkRatio, entryCount } = tableGeometry({
    virtualSizeBytes: spec.virtualSizeBytes,
    blockSizeBytes: blockSize,
    logicalSectorSizeBytes: spec.logicalSectorSizeBytes ?? NEW_FILE.logicalSectorSize,
    hasParent: false,
  });
  const dataStart = NEW_FILE.batOffset + roundUp(entryCount * BAT_ENTRY_BYTES, MIB);
  if (spec.type === 'fixed') {
    // The table stands already: the blocks lie in a row.
    return { place: (offset, length) => ({ fileOffset: dataStart + offset, length }), finish: () => {} };
  }
  return new DynamicWriter(store, { blockSize, chunkRatio, dataStart });
}

class DynamicWriter implements BulkTarget {
  readonly #store: ByteStore;
  readonly #blockSize: number;
  readonly #chunkRatio: number;
  /** The table in pieces of 1 MiB, those only in which something stands. */
  readonly #chunks = new Map<number, BigUint64Array>();
  #end: number;

  constructor(store: ByteStore, layout: { blockSize: number; chunkRatio: number; dataStart: number }) {
    this.#store = store;
    this.#blockSize = layout.blockSize;
    this.#chunkRatio = layout.chunkRatio;
    this.#end = layout.dataStart;
  }

  place(offset: number, length: number): BulkPlace {
    const block = Math.floor(offset / this.#blockSize);
    // One entry for a sector bitmap follows the entries of each chunk (2.5).
    const index = block + Math.floor(block / this.#chunkRatio);
    const number = Math.floor(index / ENTRIES_PER_CHUNK);
    let chunk = this.#chunks.get(number);
    if (!chunk) {
      chunk = new BigUint64Array(ENTRIES_PER_CHUNK);
      this.#chunks.set(number, chunk);
    }
    const entry = chunk[index % ENTRIES_PER_CHUNK] ?? 0n;
    let blockOffset = Number(entry >> 20n) * MIB;
    if (entry === 0n) {
      blockOffset = this.#end;
      this.#end += this.#blockSize;
      chunk[index % ENTRIES_PER_CHUNK] = (BigInt(blockOffset / MIB) << 20n) | BigInt(PAYLOAD.full);
    }
    const inBlock = offset - block * this.#blockSize;
    return { fileOffset: blockOffset + inBlock, length: Math.min(length, this.#blockSize - inBlock) };
  }

  finish(): void {
    this.#store.setSize(this.#end);
    for (const [number, chunk] of this.#chunks) {
      // The last chunk is as long as its region at most: regions are whole MiB.
      this.#store.write(NEW_FILE.batOffset + number * MIB, new Uint8Array(chunk.buffer), 0, MIB);
    }
  }
}
