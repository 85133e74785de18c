/**
 * formats/vmdk: VMware's disk of one sparse extent, as a file that is made in one pass. Such files are read through
 * qemu-img, by disk.
 *
 *     startVmdk -> BulkPlaces (grains in a row) -> finish: grain directory and tables, twice; descriptor; header
 *
 * Must not import disk or anything above; store only.
 */
export { startVmdk } from './bulk-writer.ts';
export { VMDK_HEADER_AT, VMDK_MAGIC } from './format.ts';
