/**
 * formats/vhdset: hv's container of a VHD Set on a ByteStore: which files a set has, which of them its snapshots are, and
 * which one is in use. Holds no disk data and touches no other file: those are disk's.
 *
 *     readVhdSet -> signature page -> newest valid header -> state (parseState)
 *     writeVhdSet -> the other state area, flush, the other header, flush
 *
 * The layout is documented in docs/formats/vhdset.md. Must not import disk or anything above; store only.
 */
export { createVhdSetContainer, hasVhdSetSignature, type OpenVhdSet, readVhdSet, writeVhdSet } from './container.ts';
export type { VhdSetCorruption } from './corruption.ts';
export type { SetFile, SetSnapshot, VhdSetState } from './format.ts';
