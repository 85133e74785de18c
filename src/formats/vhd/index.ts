/**
 * formats/vhd: the VHD format on a ByteStore: make, open, read, write. No files, no locks, no paths: those are disk's.
 *
 *     VhdImage -> FixedBody -> ByteStore
 *         |
 *         +-> SparseBody -> BlockTable, BitmapCache, SpaceAllocator (blocks made ready ahead), OldContents -> ByteStore
 *     open: footer (or its copy) -> dynamic-header -> BlockTable, locator
 *
 * Must not import disk or anything above; store only.
 */

export { startVhd } from './bulk-writer.ts';
export { type CheckVhdFileOptions, checkVhd } from './check.ts';
export type { VhdCorruption } from './corruption.ts';
export { createVhdImage, type NewVhd, type NewVhdParent, validateNewVhd } from './create.ts';
export type { DynamicHeader } from './dynamic-header.ts';
export { hasVhdSignature, readFooter, secondsSince2000, type VhdFooter } from './footer.ts';
export { NEW_FILE as NEW_VHD_FILE, SECTOR as VHD_SECTOR_BYTES } from './format.ts';
export { readVhdSummary, type VhdSummary } from './inspect.ts';
export type { VhdLocatorPaths } from './locator.ts';
export { type OpenVhdImageOptions, VhdImage } from './vhd-image.ts';
