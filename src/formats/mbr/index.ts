/**
 * formats/mbr: the boot sector's partition table, and the protective one of a GPT disk.
 *
 *     Mbr --encodeMbr--> 512 bytes --parseMbr--> Mbr --readLogicalPartitions--> those in an extended partition
 *
 * Pure functions on bytes. Imports errors only.
 */
export { MBR_SIZE, MBR_TYPE_GPT_PROTECTIVE } from './format.ts';
export { isExtended, readLogicalPartitions } from './logical.ts';
export { encodeMbr, type Mbr, type MbrPartition, parseMbr, protectiveMbr } from './mbr.ts';
export { isPartitionTable } from './plausible.ts';
export { resizeProtectiveMbr } from './protective-size.ts';
