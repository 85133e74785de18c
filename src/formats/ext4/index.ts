/**
 * formats/ext4: reads of an ext2, ext3 or ext4 volume what is needed to know its free space. Never writes.
 *
 *     VolumeBytes -> superblock -> identifyExt
 *
 * Imports errors, binary and formats only.
 */
export { identifyExt } from './identify.ts';
