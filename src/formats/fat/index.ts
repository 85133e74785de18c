/**
 * formats/fat: reads of a FAT12, FAT16, FAT32 or exFAT volume what is needed to know its free space. Never writes.
 *
 *     VolumeBytes -> boot sector -> identifyFat
 *                        |
 *                        +-> readFat: state; the table (exFAT: its allocation bitmap) -> free ranges
 *
 * Imports errors, binary and formats only.
 */
export { readFat } from './fat-volume.ts';
export { identifyFat } from './identify.ts';
