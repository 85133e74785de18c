/**
 * formats/ntfs: reads of an NTFS volume what is needed to know its free space. Never writes.
 *
 *     VolumeBytes -> boot sector -> identifyNtfs
 *                        |
 *                        +-> MasterFileTable (records, attributes, runs) -> $Volume, $LogFile, root folder: state
 *                                                                        -> $Bitmap: free ranges
 *
 * Imports errors, binary and formats only.
 */
export { identifyNtfs } from './identify.ts';
export { readNtfs } from './ntfs-volume.ts';
