/**
 * The layout of a qcow2 file: constants only. All integers are big-endian.
 * Source: QEMU's docs/interop/qcow2.txt, "Header", "Host cluster management", "Cluster mapping".
 */
export const QCOW2_MAGIC = 0x514649fb; // "QFI", 0xfb
export const QCOW2_HEADER_AT = {
  magic: 0,
  version: 4,
  backingFileOffset: 8,
  backingFileSize: 16,
  clusterBits: 20,
  size: 24,
  cryptMethod: 32,
  l1Size: 36,
  l1TableOffset: 40,
  refcountTableOffset: 48,
  refcountTableClusters: 56,
  snapshotCount: 60,
  snapshotsOffset: 64,
  incompatibleFeatures: 72,
  compatibleFeatures: 80,
  autoclearFeatures: 88,
  refcountOrder: 96,
  headerLength: 100,
} as const;

/** Of a header of version 3 without its optional fields; a header extension of type 0 and length 0 follows, which ends the list. */
export const HEADER_BYTES = 104;
export const CLUSTER_BITS = 16;
export const CLUSTER_BYTES = 2 ** CLUSTER_BITS;
export const TABLE_ENTRY_BYTES = 8;
/** Of an L2 table, which is one cluster. */
export const L2_ENTRIES = CLUSTER_BYTES / TABLE_ENTRY_BYTES;
/** Entries of L1 and L2 tables whose cluster has a reference count of exactly one. */
export const COPIED = 1n << 63n;
/** A reference count has 2 to this power bits. */
export const REFCOUNT_ORDER = 4;
/** Of a refcount block, which is one cluster. */
export const REFCOUNTS_PER_BLOCK = (CLUSTER_BYTES * 8) / 2 ** REFCOUNT_ORDER;
