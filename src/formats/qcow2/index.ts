/**
 * formats/qcow2: QEMU's image format, as a file that is made in one pass. Such files are read through qemu-img, by disk.
 *
 *     startQcow2 -> BulkPlaces (clusters in a row) -> finish: L2 tables, L1 table, refcounts, header
 *
 * Must not import disk or anything above; store only.
 */
export { startQcow2 } from './bulk-writer.ts';
export { QCOW2_HEADER_AT, QCOW2_MAGIC } from './format.ts';
