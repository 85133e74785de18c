/**
 * formats/ext4: reads of an ext2, ext3 or ext4 volume what is needed to know its free space. Never writes.
 *
 *     VolumeBytes -> superblock -> identifyExt
 *                        |
 *                        +-> readExt: state; GroupTable -> block bitmaps -> free ranges
 *
 * Imports errors, binary and formats only.
 */
export { readExt } from './ext4-volume.ts';
export { identifyExt } from './identify.ts';
