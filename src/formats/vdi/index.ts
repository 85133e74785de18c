/**
 * formats/vdi: VirtualBox's disk image, as a file that is made in one pass. Such files are read through qemu-img, by disk.
 *
 *     startVdi -> BulkPlaces (blocks in a row) -> finish: block map, header
 *
 * Must not import disk or anything above; store only.
 */
export { startVdi } from './bulk-writer.ts';
export { VDI_HEADER_AT, VDI_MAGIC, VDI_TYPE, VDI_VERSION } from './format.ts';
