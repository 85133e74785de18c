/**
 * formats/rct: changed blocks of a disk, in a file beside it (docs/formats/rct.md), on a ByteStore.
 *
 *     an image (formats/vhdx) -> ChangeObserver = ChangeTracker -> RegionMap (ahead of each change), UnitMap (afterwards)
 *     disk                    -> reference points, queries ----^
 *
 * Knows nothing of the format whose changes it tracks. Must not import disk or anything above; store only.
 */
export { type ChangedRange, type ChangedRanges, ChangeTracker, type ChangeTrackingState } from './change-tracker.ts';
export { formatChangeTrackingId, parseChangeTrackingId } from './change-tracking-id.ts';
