import { roundUp } from '../../binary/index.ts';
import { HvError, invariant } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import { type BlockTable, offsetIn, stateIn, tableGeometry } from './block-table.ts';
import { MIN_VIRTUAL_SIZE } from './create.ts';
import {
  BAT_ENTRY_BYTES,
  BITMAP_BLOCK_BYTES,
  ITEM,
  MAX_VIRTUAL_SIZE,
  MIB,
  PAYLOAD,
  REGION_TABLE_OFFSETS,
  type VhdxRegion,
} from './format.ts';
import type { Journal } from './journal.ts';
import { logChanges, type MetadataChange } from './logged-change.ts';
import type { VhdxMetadata } from './metadata.ts';
import { type MetadataCache, PAGE_BYTES } from './metadata-cache.ts';
import { encodeRegionTable, type VhdxRegions } from './regions.ts';
import type { SpaceAllocator } from './space.ts';

const ENTRIES_PER_PAGE = PAGE_BYTES / BAT_ENTRY_BYTES;
const ZEROS = new Uint8Array(MIB);

/** The parts of an open image that a change of its structures works on. */
export interface ImageParts {
  readonly store: ByteStore;
  readonly journal: Journal;
  readonly cache: MetadataCache;
  readonly space: SpaceAllocator;
  readonly table: BlockTable;
  readonly regions: VhdxRegions;
  readonly metadata: VhdxMetadata;
  /** To be called once a change has been found to be possible, before it touches anything. May flush. */
  begin(): void;
}

/** What an image is after a change that its log carries. */
export interface ChangedImage {
  readonly table: BlockTable;
  readonly regions: VhdxRegions;
  readonly metadata: VhdxMetadata;
  /** The rest, once the image has taken over the above: makes the change durable, gives back what it freed. @throws HvError `io` */
  finish(): void;
}

/** Refuses sizes that this disk cannot have. @throws HvError `invalid-argument` */
export function validateSize(metadata: VhdxMetadata, sizeBytes: number): void {
  const { logicalSectorSizeBytes } = metadata;
  const isPossible =
    Number.isSafeInteger(sizeBytes) &&
    sizeBytes >= MIN_VIRTUAL_SIZE &&
    sizeBytes <= MAX_VIRTUAL_SIZE &&
    sizeBytes % logicalSectorSizeBytes === 0;
  if (isPossible) return;
  throw new HvError(
    'invalid-argument',
    `the size of this disk must be a multiple of ${logicalSectorSizeBytes} bytes from 3 MiB to 64 TiB; ${sizeBytes} is not`,
    { detail: { value: sizeBytes, logicalSectorSizeBytes } },
  );
}

/**
 * Makes the disk larger: one log entry switches the size and whatever entries of the block allocation table lie in
 * pages that count already. Entries behind the table's present end count for nothing until then, so they are written
 * in their place before. A table that has outgrown its region is written anew elsewhere, and the same entry makes both
 * region tables name that place.
 *
 * New blocks of a fixed disk have their space at once. New blocks of a child that would show what a larger parent holds
 * there become blocks of zeros.
 * @param hiddenUpTo a child's new blocks below this end hide a parent's
 * @throws HvError `no-space`, `io`; then nothing has changed
 */
export function growTable(parts: ImageParts, sizeBytes: number, hiddenUpTo: number): ChangedImage {
  const { store, journal, cache, space, table, regions } = parts;
  const metadata = { ...parts.metadata, virtualSizeBytes: sizeBytes };
  const before = table.geometry;
  const after = tableGeometry(metadata);
  const { blockSizeBytes, hasParent, leaveBlockAllocated } = metadata;
  const firstNew = table.payloadIndex(before.payloadBlocks);
  // Entries that share a page with some that count must be sound before new ones join them.
  for (let index = firstNew; index < before.entryCount; index += ENTRIES_PER_PAGE) table.pageOf(index);
  if (before.entryCount > 0) table.pageOf(before.entryCount - 1);
  parts.begin();
  journal.settle();

  const undo: (() => void)[] = [];
  try {
    let fixedStart = 0;
    const addedBlocks = after.payloadBlocks - before.payloadBlocks;
    if (leaveBlockAllocated && addedBlocks > 0) {
      const length = addedBlocks * blockSizeBytes;
      fixedStart = space.allocate(length);
      undo.push(() => space.cancel(fixedStart, length));
      store.allocate(fixedStart, length);
    }
    const chunkEntries = after.chunkRatio + 1;
    const entryAt = (index: number): bigint => {
      if (index % chunkEntries === after.chunkRatio) return 0n;
      const block = index - Math.floor(index / chunkEntries);
      if (leaveBlockAllocated && block < after.payloadBlocks) {
        return (
          (BigInt((fixedStart + (block - before.payloadBlocks) * blockSizeBytes) / MIB) << 20n) | BigInt(PAYLOAD.full)
        );
      }
      return hasParent && block < after.payloadBlocks && block * blockSizeBytes < hiddenUpTo
        ? BigInt(PAYLOAD.zero)
        : 0n;
    };
    const hasFilled = leaveBlockAllocated || (hasParent && hiddenUpTo > before.payloadBlocks * blockSizeBytes);

    const neededBytes = after.entryCount * BAT_ENTRY_BYTES;
    const changes: MetadataChange[] = [sizeChange(regions, metadata)];
    let bat = regions.bat;
    const livePages = Math.ceil(before.entryCount / ENTRIES_PER_PAGE);
    if (neededBytes > bat.length) {
      bat = { ...bat, fileOffset: 0, length: roundUp(neededBytes, MIB) };
      bat = { ...bat, fileOffset: space.allocate(bat.length) };
      undo.push(() => space.cancel(bat.fileOffset, bat.length));
      copyRange(store, regions.bat.fileOffset, bat.fileOffset, livePages * PAGE_BYTES);
      changes.push(...regionChanges(regions, bat));
    }
    const isMoved = bat.fileOffset !== regions.bat.fileOffset;
    const firstChanged = Math.min(firstNew, before.entryCount);
    for (let page = Math.floor(firstChanged / ENTRIES_PER_PAGE); page < livePages; page++) {
      const bytes = new Uint8Array(PAGE_BYTES);
      store.read(bat.fileOffset + page * PAGE_BYTES, bytes, 0, PAGE_BYTES);
      const entries = new BigUint64Array(bytes.buffer);
      for (let inPage = 0; inPage < ENTRIES_PER_PAGE; inPage++) {
        const index = page * ENTRIES_PER_PAGE + inPage;
        const isKept = index < before.entryCount && (index < firstNew || index % chunkEntries === after.chunkRatio);
        if (!isKept) entries[inPage] = index < after.entryCount ? entryAt(index) : 0n;
      }
      const fileOffset = bat.fileOffset + page * PAGE_BYTES;
      if (isMoved) store.write(fileOffset, bytes, 0, PAGE_BYTES);
      else changes.push({ fileOffset, bytes });
    }
    // A table in another place lies in new space, which reads as zero.
    if (hasFilled || !isMoved) {
      writeEntries(store, bat, livePages * ENTRIES_PER_PAGE, after.entryCount, hasFilled ? entryAt : undefined);
    }
    cache.forget(bat.fileOffset + (isMoved ? 0 : livePages * PAGE_BYTES), bat.fileOffset + bat.length);
    store.flushSync();

    const sequence = logChanges(journal, cache, changes);
    const newRegions = isMoved ? withRegion(regions, bat) : regions;
    return {
      table: table.resized(newRegions.bat, metadata, store.size()),
      regions: newRegions,
      metadata,
      finish: () => {
        journal.settle();
        if (isMoved) freeRegion(parts, regions.bat, sequence);
      },
    };
  } catch (error) {
    for (const step of undo.reverse()) step();
    throw error;
  }
}

/**
 * Makes the disk smaller: one log entry switches the size and clears the entries of lost blocks in pages that still
 * count. What lies behind the table's new end counts for nothing from then on and is cleared afterwards; the blocks'
 * space is free once the entry is durable.
 * @throws HvError `io`, `corrupt`; then nothing has changed
 */
export function shrinkTable(parts: ImageParts, sizeBytes: number): ChangedImage {
  const { store, journal, cache, space, table, regions } = parts;
  const metadata = { ...parts.metadata, virtualSizeBytes: sizeBytes };
  const before = table.geometry;
  const after = tableGeometry(metadata);
  const { bat } = regions;
  parts.begin();
  journal.settle();

  const firstLost = table.payloadIndex(after.payloadBlocks);
  const livePages = Math.ceil(after.entryCount / ENTRIES_PER_PAGE);
  const chunkEntries = after.chunkRatio + 1;
  const changes: MetadataChange[] = [sizeChange(regions, metadata)];
  const freed: { readonly fileOffset: number; length: number }[] = [];
  const lostBitmaps: number[] = [];
  const lostPages: number[] = [];
  for (const pageNumber of filledPages(store, bat, firstLost, before.entryCount)) {
    cache.trim();
    const page = table.pageOf(pageNumber * ENTRIES_PER_PAGE);
    const bytes = page.bytes.slice();
    const entries = new BigUint64Array(bytes.buffer);
    const first = Math.max(firstLost, pageNumber * ENTRIES_PER_PAGE);
    const end = Math.min(before.entryCount, (pageNumber + 1) * ENTRIES_PER_PAGE);
    for (let index = first; index < end; index++) {
      const isBitmap = index % chunkEntries === after.chunkRatio;
      if (isBitmap && index < after.entryCount) continue;
      if (isOwner(stateIn(page, index)) && offsetIn(page, index) !== 0) {
        if (isBitmap) lostBitmaps.push(offsetIn(page, index));
        noteFreed(freed, offsetIn(page, index), isBitmap ? BITMAP_BLOCK_BYTES : metadata.blockSizeBytes);
      }
      entries[index % ENTRIES_PER_PAGE] = 0n;
    }
    if (pageNumber < livePages) changes.push({ fileOffset: page.fileOffset, bytes });
    else lostPages.push(page.fileOffset);
  }
  const sequence = logChanges(journal, cache, changes);
  return {
    table: table.resized(bat, metadata, store.size()),
    regions,
    metadata,
    finish: () => {
      journal.settle();
      for (const fileOffset of lostPages) store.write(fileOffset, ZEROS, 0, PAGE_BYTES);
      cache.forget(bat.fileOffset + livePages * PAGE_BYTES, bat.fileOffset + bat.length);
      // Other metadata may lie there later.
      for (const fileOffset of lostBitmaps) cache.forget(fileOffset, fileOffset + BITMAP_BLOCK_BYTES);
      for (const { fileOffset, length } of freed) space.free(fileOffset, length, sequence);
      journal.cutEnd();
    },
  };
}

/** Gives back a region that moved: its pages must not come back from the cache, nor the log from before the move. */
export function freeRegion(parts: ImageParts, region: VhdxRegion, sequence: number): void {
  parts.cache.forget(region.fileOffset, region.fileOffset + region.length);
  parts.space.free(region.fileOffset, region.length, sequence);
}

/** The changes that make both region tables name another place for a region. */
export function regionChanges(regions: VhdxRegions, moved: VhdxRegion): MetadataChange[] {
  const bytes = encodeRegionTable(withRegion(regions, moved).all);
  return REGION_TABLE_OFFSETS.map((fileOffset) => ({ fileOffset, bytes }));
}

export function withRegion(regions: VhdxRegions, moved: VhdxRegion): VhdxRegions {
  const all = regions.all.map((region) => (region.guid === moved.guid ? moved : region));
  const find = (guid: string): VhdxRegion => {
    const region = all.find((candidate) => candidate.guid === guid);
    invariant(region, 'a region table keeps its regions');
    return region;
  };
  return { bat: find(regions.bat.guid), metadata: find(regions.metadata.guid), all };
}

function isOwner(state: number): boolean {
  return state !== PAYLOAD.notPresent && state !== PAYLOAD.zero;
}

function sizeChange(regions: VhdxRegions, metadata: VhdxMetadata): MetadataChange {
  const item = metadata.items.find(({ itemId, isUser }) => itemId === ITEM.virtualDiskSize && !isUser);
  invariant(item, 'an open file has the item of its size');
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(metadata.virtualSizeBytes), true);
  return { fileOffset: regions.metadata.fileOffset + item.offset, bytes };
}

/** Writes entries [first, end) in their place, without the log; zeros are written only where there is something else. */
function writeEntries(
  store: ByteStore,
  bat: VhdxRegion,
  first: number,
  end: number,
  entryAt: ((index: number) => bigint) | undefined,
): void {
  const perChunk = MIB / BAT_ENTRY_BYTES;
  const entries = new BigUint64Array(perChunk);
  const bytes = new Uint8Array(entries.buffer);
  // Whole pages, so that nothing is left over in the last of them.
  const pageEnd = Math.min(roundUp(end, ENTRIES_PER_PAGE), bat.length / BAT_ENTRY_BYTES);
  for (let from = first; from < pageEnd; from += perChunk) {
    const count = Math.min(perChunk, pageEnd - from);
    const fileOffset = bat.fileOffset + from * BAT_ENTRY_BYTES;
    if (entryAt) {
      for (let index = 0; index < count; index++) entries[index] = from + index < end ? entryAt(from + index) : 0n;
      store.write(fileOffset, bytes, 0, count * BAT_ENTRY_BYTES);
      continue;
    }
    store.read(fileOffset, bytes, 0, count * BAT_ENTRY_BYTES);
    if (!isZero(bytes, count * BAT_ENTRY_BYTES)) store.write(fileOffset, ZEROS, 0, count * BAT_ENTRY_BYTES);
  }
}

/** The numbers of the table's pages between two entries that hold anything. */
function* filledPages(store: ByteStore, bat: VhdxRegion, firstIndex: number, endIndex: number): Generator<number> {
  const bytes = new Uint8Array(MIB);
  const endPage = Math.ceil(endIndex / ENTRIES_PER_PAGE);
  const perChunk = MIB / PAGE_BYTES;
  for (let first = Math.floor(firstIndex / ENTRIES_PER_PAGE); first < endPage; first += perChunk) {
    const count = Math.min(perChunk, endPage - first);
    store.read(bat.fileOffset + first * PAGE_BYTES, bytes, 0, count * PAGE_BYTES);
    if (isZero(bytes, count * PAGE_BYTES)) continue;
    for (let page = 0; page < count; page++) {
      if (!isZero(bytes.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES), PAGE_BYTES)) yield first + page;
    }
  }
}

function copyRange(store: ByteStore, from: number, to: number, length: number): void {
  const bytes = new Uint8Array(MIB);
  for (let done = 0; done < length; done += MIB) {
    const count = Math.min(MIB, length - done);
    store.read(from + done, bytes, 0, count);
    // The target is new space, which reads as zero.
    if (!isZero(bytes, count)) store.write(to + done, bytes, 0, count);
  }
}

function isZero(bytes: Uint8Array, length: number): boolean {
  return Buffer.compare(bytes.subarray(0, length), ZEROS.subarray(0, length)) === 0;
}

function noteFreed(freed: { readonly fileOffset: number; length: number }[], fileOffset: number, length: number): void {
  const last = freed.at(-1);
  if (last && last.fileOffset + last.length === fileOffset) last.length += length;
  else freed.push({ fileOffset, length });
}
