import type { ByteStore } from '../../store/index.ts';
import { BulkPlaces } from '../bulk-places.ts';
import type { BulkPlace, BulkTarget } from '../bulk-target.ts';
import {
  QCOW2_HEADER_AT as AT,
  CLUSTER_BITS,
  CLUSTER_BYTES,
  COPIED,
  HEADER_BYTES,
  L2_ENTRIES,
  QCOW2_MAGIC,
  REFCOUNT_ORDER,
  REFCOUNTS_PER_BLOCK,
  TABLE_ENTRY_BYTES,
} from './format.ts';

const VERSION = 3;
/** What the tables of places can count; the file would have 256 TiB. */
const MAX_CLUSTERS = 2 ** 32 - 1;

/**
 * Starts a new image in an empty store, version 3 with clusters of 64 KiB, to be filled before it is used: the header's
 * cluster, the payload, then the tables behind it.
 * @throws HvError `no-space`, `io`
 */
export function startQcow2(store: ByteStore, virtualSizeBytes: number): BulkTarget {
  return new Qcow2Writer(store, virtualSizeBytes);
}

/** Where the tables lie that finish() writes: in this order, behind the payload, each in whole clusters. */
interface Tables {
  readonly l1Offset: number;
  readonly l1Entries: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  readonly refcountBlocksOffset: number;
  readonly refcountBlocks: number;
  /** Of the whole file. */
  readonly clusters: number;
}

class Qcow2Writer implements BulkTarget {
  readonly #store: ByteStore;
  readonly #sizeBytes: number;
  readonly #places = new BulkPlaces({
    unitBytes: CLUSTER_BYTES,
    dataStart: CLUSTER_BYTES,
    unitsPerTable: L2_ENTRIES,
    maxUnits: MAX_CLUSTERS,
  });

  constructor(store: ByteStore, sizeBytes: number) {
    this.#store = store;
    this.#sizeBytes = sizeBytes;
  }

  place(offset: number, length: number): BulkPlace {
    return this.#places.place(offset, length);
  }

  finish(): void {
    const l1Entries = Math.ceil(this.#sizeBytes / (L2_ENTRIES * CLUSTER_BYTES));
    const l1 = new BigUint64Array(l1Entries);
    let end = this.#places.end;
    for (const [index, numbers] of this.#places.tables()) {
      this.#write(end, l2Table(numbers));
      l1[index] = BigInt(end) | COPIED;
      end += CLUSTER_BYTES;
    }
    const tables = layOut(end, l1Entries);
    this.#store.setSize(tables.clusters * CLUSTER_BYTES);
    this.#write(tables.l1Offset, bigEndian(l1));
    this.#writeRefcounts(tables);
    this.#write(0, header(this.#sizeBytes, tables));
  }

  /** Every cluster of the file is used once. */
  #writeRefcounts({ refcountTableOffset, refcountBlocksOffset, refcountBlocks, clusters }: Tables): void {
    const table = new BigUint64Array(refcountBlocks);
    for (let block = 0; block < refcountBlocks; block++) {
      const blockOffset = refcountBlocksOffset + block * CLUSTER_BYTES;
      table[block] = BigInt(blockOffset);
      const count = Math.min(REFCOUNTS_PER_BLOCK, clusters - block * REFCOUNTS_PER_BLOCK);
      const ones = Buffer.alloc((count * 2 ** REFCOUNT_ORDER) / 8);
      for (let at = 1; at < ones.length; at += 2) ones[at] = 1;
      this.#write(blockOffset, ones);
    }
    this.#write(refcountTableOffset, bigEndian(table));
  }

  #write(offset: number, bytes: Uint8Array): void {
    this.#store.write(offset, bytes, 0, bytes.length);
  }
}

function l2Table(numbers: Uint32Array): Buffer {
  const entries = new BigUint64Array(L2_ENTRIES);
  for (const [index, number] of numbers.entries()) {
    // The first cluster holds the header, so that the payload's first, number 1, is the file's second.
    if (number !== 0) entries[index] = BigInt(number * CLUSTER_BYTES) | COPIED;
  }
  return bigEndian(entries);
}

/** The tables count themselves: more clusters of refcounts until they cover all that there is. */
function layOut(l1Offset: number, l1Entries: number): Tables {
  const before = l1Offset / CLUSTER_BYTES + Math.ceil((l1Entries * TABLE_ENTRY_BYTES) / CLUSTER_BYTES);
  let refcountBlocks = 1;
  for (;;) {
    const refcountTableClusters = Math.ceil((refcountBlocks * TABLE_ENTRY_BYTES) / CLUSTER_BYTES);
    const clusters = before + refcountTableClusters + refcountBlocks;
    if (clusters <= refcountBlocks * REFCOUNTS_PER_BLOCK) {
      const refcountTableOffset = before * CLUSTER_BYTES;
      const refcountBlocksOffset = refcountTableOffset + refcountTableClusters * CLUSTER_BYTES;
      return {
        l1Offset,
        l1Entries,
        refcountTableOffset,
        refcountTableClusters,
        refcountBlocksOffset,
        refcountBlocks,
        clusters,
      };
    }
    refcountBlocks = Math.ceil(clusters / REFCOUNTS_PER_BLOCK);
  }
}

function header(sizeBytes: number, tables: Tables): Buffer {
  const bytes = Buffer.alloc(CLUSTER_BYTES);
  bytes.writeUInt32BE(QCOW2_MAGIC, AT.magic);
  bytes.writeUInt32BE(VERSION, AT.version);
  bytes.writeUInt32BE(CLUSTER_BITS, AT.clusterBits);
  bytes.writeBigUInt64BE(BigInt(sizeBytes), AT.size);
  bytes.writeUInt32BE(tables.l1Entries, AT.l1Size);
  bytes.writeBigUInt64BE(BigInt(tables.l1Offset), AT.l1TableOffset);
  bytes.writeBigUInt64BE(BigInt(tables.refcountTableOffset), AT.refcountTableOffset);
  bytes.writeUInt32BE(tables.refcountTableClusters, AT.refcountTableClusters);
  bytes.writeUInt32BE(REFCOUNT_ORDER, AT.refcountOrder);
  bytes.writeUInt32BE(HEADER_BYTES, AT.headerLength);
  return bytes;
}

function bigEndian(entries: BigUint64Array): Buffer {
  return Buffer.from(entries.buffer).swap64();
}
