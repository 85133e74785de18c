import type { LogicalUnit } from './command.ts';

/** What one command may move; more is refused as VPD page B0h says. */
export const MAX_TRANSFER_BYTES = 32 * 2 ** 20;
export const OPTIMAL_TRANSFER_BYTES = 2 ** 20;
export const MAX_WRITE_SAME_BYTES = 2 ** 30;
export const MAX_UNMAP_DESCRIPTORS = 256;
/** UNMAP counts blocks in four bytes, and a disk takes any of them at once. */
export const MAX_UNMAP_BLOCKS = 2 ** 32 - 1;

export function maxTransferBlocks(unit: LogicalUnit): number {
  return MAX_TRANSFER_BYTES / unit.blockBytes;
}

export function maxWriteSameBlocks(unit: LogicalUnit): number {
  return MAX_WRITE_SAME_BYTES / unit.blockBytes;
}

/** Logical blocks in a physical one, as a power of two. */
export function physicalExponent({ device, blockBytes }: LogicalUnit): number {
  return Math.max(0, Math.round(Math.log2(device.physicalSectorSizeBytes / blockBytes)));
}
