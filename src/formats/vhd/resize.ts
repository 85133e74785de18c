import { roundUp } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import { readTable, structuresOf } from './block-table.ts';
import { copyRange } from './copy-range.ts';
import { validateNewVhd, writeUnusedEntries } from './create.ts';
import { bitmapBytesOf, type DynamicHeader, tableBytesOf, withTableEntries } from './dynamic-header.ts';
import { type VhdFooter, viewOf, withChecksum, withSize } from './footer.ts';
import { BAT_ENTRY_BYTES, FOOTER_AT, FOOTER_BYTES, PAYLOAD_ALIGNMENT, SECTOR, UNUSED_ENTRY } from './format.ts';
import { ZEROS } from './vhd-body.ts';

/** In the reserved part of the footer of a fixed disk that is growing: the mark, then where the old footer lay. */
const GROW_MARK_AT = 96;
const GROW_MARK = 0x68766772; // "hvgr"

/** Refuses sizes that this disk cannot have. @throws HvError `invalid-argument`, `unsupported` */
export function validateSize(name: string, type: VhdFooter['type'], sizeBytes: number): void {
  if (type === 'differencing') {
    throw new HvError('unsupported', `${name} is a differencing VHD, which has its parent's size`, {
      detail: { path: name },
      hint: 'Merge it into its parent first, or use VHDX.',
    });
  }
  validateNewVhd({ type, virtualSizeBytes: sizeBytes });
}

/**
 * A fixed disk's new size. Growing, the file gets its new footer in the one write that makes it longer. What then lies
 * where the old footer was must read as zero: the new footer says so until it does.
 * @param footerOffset where the present footer lies
 * @throws HvError `no-space`, `io`
 */
export function resizeFixed(store: ByteStore, footer: VhdFooter, footerOffset: number, sizeBytes: number): void {
  const oldFileSize = store.size();
  const bytes = withSize(footer.bytes, sizeBytes);
  // A disk whose size its geometry gives may end before its footer begins.
  const hiddenEnd = Math.min(sizeBytes, footerOffset);
  if (hiddenEnd > footer.sizeBytes) {
    writeZeros(store, footer.sizeBytes, hiddenEnd - footer.sizeBytes);
    store.flushSync();
  }
  if (sizeBytes <= footerOffset) {
    store.write(sizeBytes, bytes, 0, FOOTER_BYTES);
    store.flushSync();
    store.setSize(sizeBytes + FOOTER_BYTES);
    store.flushSync();
    return;
  }
  const marked = withGrowMark(bytes, footerOffset, oldFileSize - footerOffset);
  try {
    store.write(sizeBytes, marked, 0, FOOTER_BYTES);
    store.allocate(oldFileSize, sizeBytes - oldFileSize);
    store.flushSync();
  } catch (error) {
    store.setSize(oldFileSize);
    throw error;
  }
  finishGrowing(store, { ...footer, sizeBytes, bytes: marked });
}

/** The range of a growing fixed disk that reads as zero whatever the file holds there. */
export function growingRange(footer: VhdFooter): { readonly offset: number; readonly length: number } | undefined {
  const view = viewOf(footer.bytes);
  if (footer.type !== 'fixed' || view.getUint32(GROW_MARK_AT) !== GROW_MARK) return undefined;
  const offset = Number(view.getBigUint64(GROW_MARK_AT + 4));
  const length = view.getUint32(GROW_MARK_AT + 12);
  const isPossible = length > 0 && length <= FOOTER_BYTES && offset + length <= footer.sizeBytes;
  return isPossible ? { offset, length } : undefined;
}

/** Brings a fixed disk's growth to its end. @throws HvError `io` */
export function finishGrowing(store: ByteStore, footer: VhdFooter): void {
  const range = growingRange(footer);
  if (!range) return;
  store.write(range.offset, ZEROS, 0, range.length);
  store.flushSync();
  const bytes = Uint8Array.from(footer.bytes).fill(0, GROW_MARK_AT, GROW_MARK_AT + 16);
  store.write(footer.sizeBytes, withChecksum(bytes, FOOTER_AT.checksum), 0, FOOTER_BYTES);
  store.flushSync();
}

function withGrowMark(footer: Uint8Array, offset: number, length: number): Uint8Array {
  const bytes = Uint8Array.from(footer);
  const view = viewOf(bytes);
  view.setUint32(GROW_MARK_AT, GROW_MARK);
  view.setBigUint64(GROW_MARK_AT + 4, BigInt(offset));
  view.setUint32(GROW_MARK_AT + 12, length);
  return withChecksum(bytes, FOOTER_AT.checksum);
}

function writeZeros(store: ByteStore, offset: number, length: number): void {
  for (let done = 0; done < length; done += ZEROS.length) {
    store.write(offset + done, ZEROS, 0, Math.min(ZEROS.length, length - done));
  }
}

/** A dynamic disk whose file is durable and ends with its footer behind the last block. */
export interface ResizableDisk {
  readonly store: ByteStore;
  readonly footer: VhdFooter;
  readonly header: DynamicHeader;
  /** Everything in the file but the trailing footer ends before this. */
  readonly endOffset: number;
}

/**
 * A dynamic disk's new size. Each step is durable before the next: entries beyond the old end are empty, blocks that
 * lie where the table grows have moved, the table is longer, the last block's rest is zeros; then the footers say the size.
 * The caller opens the file anew.
 * @throws HvError `no-space`, `io`, `unsupported` (something else than blocks lies behind the table)
 */
export function growDynamic(disk: ResizableDisk, sizeBytes: number): void {
  const { store, footer, header } = disk;
  const { blockSizeBytes, tableOffset, tableEntries } = header;
  const oldBlocks = Math.ceil(footer.sizeBytes / blockSizeBytes);
  const newEntries = Math.max(tableEntries, Math.ceil(sizeBytes / blockSizeBytes));
  const table = readTable(store, header);
  const stale = table.subarray(oldBlocks).some((entry) => entry !== UNUSED_ENTRY);
  if (stale) {
    writeUnusedEntries(store, tableOffset + oldBlocks * BAT_ENTRY_BYTES, tableOffset + tableEntries * BAT_ENTRY_BYTES);
    store.flushSync();
  }
  let end = disk.endOffset;
  if (newEntries > tableEntries) {
    const usedEnd = tableOffset + tableEntries * BAT_ENTRY_BYTES;
    const newEnd = tableOffset + tableBytesOf(newEntries);
    mustHoldBlocksOnly(disk, newEnd);
    end = moveBlocksAway(disk, table.subarray(0, oldBlocks), newEnd);
    writeUnusedEntries(store, usedEnd, newEnd);
    store.flushSync();
    store.write(header.fileOffset, withTableEntries(header.bytes, newEntries), 0, header.bytes.length);
    store.flushSync();
  }
  zeroRestOfBlock(disk, readTable(store, header)[oldBlocks - 1] ?? UNUSED_ENTRY);
  writeFooters(store, withSize(footer.bytes, sizeBytes), end);
}

/** The footers say the new size first; what lies beyond it is given up only then. The caller opens the file anew. */
export function shrinkDynamic(disk: ResizableDisk, sizeBytes: number): void {
  const { store, footer, header, endOffset } = disk;
  const blocks = Math.ceil(sizeBytes / header.blockSizeBytes);
  writeFooters(store, withSize(footer.bytes, sizeBytes), endOffset);
  if (blocks === header.tableEntries) return;
  const { tableOffset, tableEntries } = header;
  writeUnusedEntries(store, tableOffset + blocks * BAT_ENTRY_BYTES, tableOffset + tableEntries * BAT_ENTRY_BYTES);
  store.flushSync();
  store.write(header.fileOffset, withTableEntries(header.bytes, blocks), 0, header.bytes.length);
  store.flushSync();
}

/** The trailing footer, which counts, before the copy. */
function writeFooters(store: ByteStore, bytes: Uint8Array, endOffset: number): void {
  store.write(endOffset, bytes, 0, FOOTER_BYTES);
  store.flushSync();
  store.write(0, bytes, 0, FOOTER_BYTES);
  store.flushSync();
}

function mustHoldBlocksOnly({ store, header }: ResizableDisk, newTableEnd: number): void {
  const blocking = structuresOf(header).find(
    ({ fileOffset }) => fileOffset > header.tableOffset && fileOffset < newTableEnd,
  );
  if (!blocking) return;
  throw new HvError('unsupported', `the block allocation table of ${store.name} has no room to grow`, {
    detail: { path: store.name, offset: blocking.fileOffset },
    hint: 'Convert it to a new file, and resize that.',
  });
}

/** Copies the blocks that begin before a place to the end of the file, and points their entries there. @returns the new end */
function moveBlocksAway(disk: ResizableDisk, entries: Uint32Array, before: number): number {
  const { store, header, footer } = disk;
  const strideBytes = header.blockSizeBytes + bitmapBytesOf(header.blockSizeBytes);
  const moves: { readonly block: number; readonly from: number; readonly to: number }[] = [];
  // The table must end before the trailing footer even where there is no block.
  let end = Math.max(disk.endOffset, before);
  entries.forEach((entry, block) => {
    if (entry === UNUSED_ENTRY || entry * SECTOR >= before) return;
    const to = roundUp(end + header.bitmapBytes, PAYLOAD_ALIGNMENT) - header.bitmapBytes;
    moves.push({ block, from: entry * SECTOR, to });
    end = to + strideBytes;
  });
  if (end > disk.endOffset) {
    store.write(end, footer.bytes, 0, FOOTER_BYTES);
    store.punchHole(disk.endOffset, Math.min(FOOTER_BYTES, end - disk.endOffset));
  }
  for (const { from, to } of moves) copyRange(store, from, to, strideBytes);
  store.flushSync();
  for (const { block, to } of moves) writeEntry(store, header, block, to);
  store.flushSync();
  return end;
}

function writeEntry(store: ByteStore, header: DynamicHeader, block: number, fileOffset: number): void {
  const bytes = new Uint8Array(BAT_ENTRY_BYTES);
  viewOf(bytes).setUint32(0, fileOffset / SECTOR);
  store.write(header.tableOffset + block * BAT_ENTRY_BYTES, bytes, 0, BAT_ENTRY_BYTES);
}

/** What the disk's last block holds beyond the disk's end must not come to light. */
function zeroRestOfBlock({ store, header, footer }: ResizableDisk, entry: number): void {
  const inBlock = footer.sizeBytes % header.blockSizeBytes;
  if (entry === UNUSED_ENTRY || inBlock === 0) return;
  store.punchHole(entry * SECTOR + header.bitmapBytes + inBlock, header.blockSizeBytes - inBlock);
  store.flushSync();
}
