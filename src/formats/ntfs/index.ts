/**
 * formats/ntfs: reads of an NTFS volume what is needed to know its free space. Never writes.
 *
 *     VolumeBytes -> boot sector -> identifyNtfs
 *
 * Imports errors, binary and formats only.
 */
export { identifyNtfs } from './identify.ts';
