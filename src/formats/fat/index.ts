/**
 * formats/fat: reads of a FAT12, FAT16, FAT32 or exFAT volume what is needed to know its free space. Never writes.
 *
 *     VolumeBytes -> boot sector -> identifyFat
 *
 * Imports errors and formats only.
 */
export { identifyFat } from './identify.ts';
