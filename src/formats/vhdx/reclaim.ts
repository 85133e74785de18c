import { type LongOptions, throttleProgress, throwIfAborted } from '../../async/index.ts';
import { invariant } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import { setEntryIn } from './block-table.ts';
import { BITMAP_BLOCK_BYTES, MIB } from './format.ts';
import type { MetadataPage } from './metadata-cache.ts';
import type { ImageParts } from './resize.ts';
import type { Range } from './space.ts';

/** A batch shares two flushes: as much as this is copied, or so many entries change, before they come. */
const BATCH_BYTES = 64 * MIB;
const BATCH_ENTRIES = 64;
/** The unit of a host file: smaller runs of zeros cannot become holes. */
const PIECE_BYTES = 4096;
const ZEROS = Buffer.alloc(PIECE_BYTES);
interface Item {
  readonly index: number;
  readonly state: number;
  readonly fileOffset: number;
  readonly length: number;
  /** The bytes of it that count. */
  readonly usedLength: number;
  readonly isBitmap: boolean;
}

interface Move extends Item {
  readonly target: number;
}

/**
 * Moves the blocks at the file's end into gaps nearer to its front and cuts the file behind the last one.
 *
 *     copy into free space, flush -> log entries that point there, flush -> the old space is free -> cut
 *
 * At every moment each entry points at a whole copy of its block. Ends at the first block that finds no gap before it:
 * the file cannot become shorter than where that one ends, nor than its structures.
 */
export async function reclaimSpace(parts: ImageParts, options: LongOptions): Promise<void> {
  const { journal, space, table, metadata, regions } = parts;
  const { signal } = options;
  throwIfAborted(signal, 'reclaiming the space of a disk file');
  if (metadata.leaveBlockAllocated) return;
  if (!table.isFullyChecked) {
    table.checkAll();
    space.adoptGaps();
  }
  if (!space.hasFree) return;
  // With a log open, what was given back is punched by the first flush and free after the second.
  journal.makeRoom(1);
  journal.settle();
  journal.runNow(journal.flushSteps());
  journal.runNow(journal.flushSteps());

  const { header } = journal;
  const floor = regions.all.reduce(
    (end, { fileOffset, length }) => Math.max(end, fileOffset + length),
    header.logOffset + header.logLength,
  );
  const items = packedItems(parts, floor);
  const gaps = new Gaps(space.takeAvailable());
  const report = throttleProgress(options.onProgress);
  report({ phase: 'reclaim', done: 0, total: items.length });
  try {
    for (let next = items.length - 1; next >= 0; ) {
      throwIfAborted(signal, 'reclaiming the space of a disk file');
      const moves: Move[] = [];
      let bytes = 0;
      let isAtEnd = false;
      for (; next >= 0 && moves.length < BATCH_ENTRIES && bytes < BATCH_BYTES; next--) {
        const item = itemOf(parts, items[next] ?? 0);
        const target = gaps.takeBelow(item.fileOffset, item.length);
        if (target === undefined) {
          isAtEnd = true;
          break;
        }
        space.occupy(target, item.length);
        moves.push({ ...item, target });
        bytes += item.length;
      }
      if (moves.length > 0) move(parts, moves);
      report({ phase: 'reclaim', done: items.length - 1 - next, total: items.length });
      if (isAtEnd) break;
      await new Promise(setImmediate);
    }
  } finally {
    space.makeAvailable(gaps.rest());
  }
  journal.cutEnd();
  report({ phase: 'reclaim', done: items.length, total: items.length });
}

/**
 * Everything that could move and that keeps the file from being shorter, sorted by its place. Each is one number: the
 * place in MiB times the number of entries, and the index of the entry. Files so long that this is not exact (over
 * 127 TiB) have nothing moved.
 */
function packedItems({ table, space }: ImageParts, floor: number): Float64Array {
  const packed: number[] = [];
  const { entryCount } = table.geometry;
  if (!Number.isSafeInteger((space.endOffset / MIB + 1) * entryCount)) return new Float64Array();
  for (const { index, fileOffset } of table.owners()) {
    if (fileOffset >= floor) packed.push((fileOffset / MIB) * entryCount + index);
  }
  return Float64Array.from(packed).sort();
}

function itemOf({ table, metadata, cache }: ImageParts, packed: number): Item {
  const { entryCount } = table.geometry;
  const index = packed % entryCount;
  cache.trim();
  const { state, block, fileOffset } = table.ownerAt(index);
  invariant(fileOffset / MIB === (packed - index) / entryCount, 'a block lies where it lay a moment ago');
  const isBitmap = block < 0;
  const { blockSizeBytes, virtualSizeBytes } = metadata;
  const length = isBitmap ? BITMAP_BLOCK_BYTES : blockSizeBytes;
  const usedLength = isBitmap ? length : Math.min(length, virtualSizeBytes - block * blockSizeBytes);
  return { index, state, fileOffset, length, usedLength, isBitmap };
}

/** Moves some blocks as one. Nothing may come in between: what is written to a block must not miss its copy. */
function move({ store, journal, cache, table, space }: ImageParts, moves: readonly Move[]): void {
  // A page of a bitmap that the log still holds would be replayed into what is something else by then.
  if (moves.some(({ isBitmap }) => isBitmap)) journal.settle();
  const undo: (() => void)[] = moves.map(
    ({ target, length }) =>
      () =>
        space.free(target, length, 0),
  );
  try {
    const buffer = Buffer.alloc(MIB);
    for (const { fileOffset, target, usedLength } of moves) {
      for (let done = 0; done < usedLength; done += MIB) {
        const count = Math.min(MIB, usedLength - done);
        store.read(fileOffset + done, buffer, 0, count);
        writeSparse(store, target + done, buffer, count);
      }
    }
    store.flushSync();
    journal.makeRoom(moves.length);
    const pages = new Set<MetadataPage>();
    for (const { index, state, fileOffset, target } of moves) {
      const page = table.pageOf(index);
      setEntryIn(page, index, state, target);
      undo.push(() => setEntryIn(page, index, state, fileOffset));
      pages.add(page);
    }
    const sequence = journal.commit([...pages]);
    for (const { fileOffset, length } of moves) space.free(fileOffset, length, sequence);
  } catch (error) {
    for (const step of undo.reverse()) step();
    throw error;
  }
  for (const { isBitmap, fileOffset, length } of moves) if (isBitmap) cache.forget(fileOffset, fileOffset + length);
  journal.runNow(journal.flushSteps());
}

/** The target reads as zero already. */
function writeSparse(store: ByteStore, fileOffset: number, bytes: Buffer, length: number): void {
  for (let at = 0; at < length; ) {
    const start = at;
    while (at < length && !isZeroPiece(bytes, at, length)) at += PIECE_BYTES;
    const end = Math.min(at, length);
    if (end > start) store.write(fileOffset + start, bytes, start, end - start);
    at += PIECE_BYTES;
  }
}

function isZeroPiece(bytes: Buffer, start: number, end: number): boolean {
  const length = Math.min(PIECE_BYTES, end - start);
  return bytes.subarray(start, start + length).equals(ZEROS.subarray(0, length));
}

/** Free ranges in order, of which the first that fits is taken from the front. */
class Gaps {
  readonly #ranges: { fileOffset: number; length: number }[];
  /** For each length that was asked for: every range before this one is too small for it. */
  readonly #firstFor = new Map<number, number>();

  constructor(ranges: readonly Range[]) {
    this.#ranges = ranges.map((range) => ({ ...range }));
  }

  /** @returns where there is room that ends at `limit` or before; undefined where there is none */
  takeBelow(limit: number, length: number): number | undefined {
    let at = this.#firstFor.get(length) ?? 0;
    while (at < this.#ranges.length && (this.#ranges[at]?.length ?? 0) < length) at++;
    this.#firstFor.set(length, at);
    const range = this.#ranges[at];
    if (!range || range.fileOffset + length > limit) return undefined;
    const { fileOffset } = range;
    range.fileOffset += length;
    range.length -= length;
    return fileOffset;
  }

  rest(): Range[] {
    return this.#ranges.filter(({ length }) => length > 0);
  }
}
