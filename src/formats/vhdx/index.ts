/**
 * formats/vhdx: the VHDX format on a ByteStore: make, open, read, write, replay. No files, no locks, no paths: those
 * are disk's.
 *
 *     VhdxImage -> BlockTable, sector-bitmap -> MetadataCache -> ByteStore
 *         |                                         ^
 *         +-> SpaceAllocator      Journal: LogWriter, HeaderPair
 *     resize, metadata-items, reclaim: changes of structure, each one log entry (logged-change) around what nothing names yet
 *     check: every rule by itself, on files that open refuses; repairs what the file proves
 *     open: header -> log-reader (replay: into the file, or ReplayOverlay) -> regions -> metadata -> BlockTable
 *
 * Must not import disk or anything above; store only.
 */

export { startVhdx } from './bulk-writer.ts';
export { type CheckVhdxOptions, checkVhdx } from './check.ts';
export type { VhdxCorruption } from './corruption.ts';
export {
  createVhdx,
  defaultBlockSize,
  MIN_VIRTUAL_SIZE,
  type NewVhdx,
  validateNewVhdx,
} from './create.ts';
export type { MetadataItem, VhdxHeader } from './format.ts';
export { hasVhdxSignature } from './header.ts';
export { inheritableItems, readVhdxSummary, replaceLocator, type VhdxSummary } from './inspect.ts';
export { type LocatorPaths, locatorPairs, type ParentLocator, withLinkages, withParent } from './locator.ts';
export type { VhdxMetadata } from './metadata.ts';
export { type OpenVhdxOptions, VhdxImage } from './vhdx-image.ts';
