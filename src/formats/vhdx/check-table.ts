import { type LongOptions, throwIfAborted } from '../../async/index.ts';
import type { ByteStore } from '../../store/index.ts';
import type { FindingList } from '../finding-list.ts';
import { BlockTable, tableGeometry } from './block-table.ts';
import { finding, INFO } from './check-structures.ts';
import type { VhdxCorruption } from './corruption.ts';
import { BAT_ENTRY_BYTES, BITMAP, BITMAP_BLOCK_BYTES, MIB, PAYLOAD, type VhdxHeader } from './format.ts';
import type { VhdxMetadata } from './metadata.ts';
import { occupyStructures } from './occupancy.ts';
import type { VhdxRegions } from './regions.ts';

const ENTRIES_PER_READ = MIB / BAT_ENTRY_BYTES;
/** 128 TiB in MiB: no file is longer. */
const MAX_OFFSET_MIB = 2 ** 27;
const RESERVED_LOW = 0xffff8;
/** So many entries are set right in one repair; more than that is no damage that one repairs entry by entry. */
const MAX_RESERVED = 65_536;

/** What of the table a repair can set right: entries whose reserved bits are set, and are right otherwise. */
export interface TableFaults {
  readonly reserved: readonly number[];
}

/**
 * Every entry of the block allocation table (2.5): states, reserved bits, places, overlaps, and that a partly present
 * block has its sector bitmap. Takes memory for what is taken of the file, a bit for each MiB.
 * @throws HvError `aborted`, `io`
 */
export async function checkTable(
  view: ByteStore,
  header: VhdxHeader,
  regions: VhdxRegions,
  metadata: VhdxMetadata,
  list: FindingList,
  options: LongOptions,
): Promise<TableFaults> {
  const { bat } = regions;
  const geometry = tableGeometry(metadata);
  const { chunkRatio, entryCount, payloadBlocks } = geometry;
  const reserved: number[] = [];
  if (entryCount * BAT_ENTRY_BYTES > bat.length) {
    list.add(finding('bat-too-short', bat.fileOffset, bat.length));
    return { reserved };
  }
  const { occupancy, structuresEnd } = occupyStructures(header, regions.all);
  const fileSize = view.size();
  let end = structuresEnd;

  const bytes = new Uint8Array(MIB);
  const words = new Uint32Array(bytes.buffer);
  /** Chunks that hold a partly present block; and those that have a bitmap. */
  const partial = new Map<number, number>();
  const withBitmap = new Set<number>();
  let behind = 0;
  let firstBehind = 0;
  // What the file does not reach reads as zeros: a region that claims gigabytes costs no more than the file has.
  const held = Math.min(bat.length, Math.max(0, fileSize - bat.fileOffset));
  for (let first = 0; first * BAT_ENTRY_BYTES < held; first += ENTRIES_PER_READ) {
    throwIfAborted(options.signal, 'checking the disk');
    const isBehind = first >= entryCount;
    view.read(bat.fileOffset + first * BAT_ENTRY_BYTES, bytes, 0, MIB);
    for (let inRead = 0; inRead < ENTRIES_PER_READ; inRead++) {
      const low = words[inRead * 2] as number; // both are in the buffer
      const high = words[inRead * 2 + 1] as number;
      if (low === 0 && high === 0) continue;
      const index = first + inRead;
      const at = bat.fileOffset + index * BAT_ENTRY_BYTES;
      if (isBehind || index >= entryCount) {
        if (behind++ === 0) firstBehind = at;
        continue;
      }
      const value = (BigInt(high) << 32n) | BigInt(low);
      const fail = (code: VhdxCorruption): void => list.add(finding(code, at, value));
      const state = low & 7;
      const mib = (low >>> 20) + high * 4096;
      const chunk = Math.floor(index / (chunkRatio + 1));
      const isBitmap = index % (chunkRatio + 1) === chunkRatio;
      const isValid = isBitmap
        ? state === BITMAP.notPresent || (state === BITMAP.present && metadata.hasParent)
        : state !== 4 && state !== 5 && (state !== PAYLOAD.partial || metadata.hasParent);
      if (!isValid) {
        fail('bat-entry-state');
        continue;
      }
      if ((low & RESERVED_LOW) !== 0) {
        list.add(finding('bat-entry-reserved', at, value, { severity: 'error', repair: 'possible' }));
        if (reserved.length < MAX_RESERVED) reserved.push(at);
      }
      if (isBitmap && state === BITMAP.present) withBitmap.add(chunk);
      if (state === PAYLOAD.partial && !partial.has(chunk)) partial.set(chunk, at);
      if (!BlockTable.ownsSpace(state)) continue;
      if (mib === 0 && (state === PAYLOAD.undefined || state === PAYLOAD.unmapped)) continue;
      if (mib === 0 || mib > MAX_OFFSET_MIB) {
        fail('bat-entry-offset');
        continue;
      }
      const length = isBitmap ? BITMAP_BLOCK_BYTES : metadata.blockSizeBytes;
      const block = index - chunk;
      // A child's table ends with a whole chunk: its last blocks may lie behind the disk's end.
      if (!isBitmap && block >= payloadBlocks && behind++ === 0) firstBehind = at;
      const needed = isBitmap ? length : Math.max(0, Math.min(length, metadata.virtualSizeBytes - block * length));
      if (mib * MIB + needed > fileSize) fail('bat-entry-beyond-end');
      else if (!occupancy.take(mib * MIB, length)) fail('bat-entry-overlap');
      end = Math.max(end, mib * MIB + length);
    }
    options.onProgress?.({ phase: 'check', done: Math.min(first + ENTRIES_PER_READ, entryCount), total: entryCount });
    await new Promise(setImmediate);
  }
  for (const [chunk, at] of partial) if (!withBitmap.has(chunk)) list.add(finding('bitmap-missing', at, chunk));
  if (behind > 0) list.add(finding('bat-behind-table', firstBehind, behind, INFO));

  // Microsoft's own disk2vhd cuts the last block off where the disk ends.
  if (fileSize % MIB !== 0) list.add(finding('file-end-unaligned', fileSize, fileSize, INFO));
  let leaked = 0;
  let firstLeaked: number | null = null;
  for (const gap of occupancy.gaps(Math.min(end, fileSize))) {
    leaked += gap.length;
    firstLeaked ??= gap.fileOffset;
  }
  if (fileSize > end) {
    leaked += fileSize - end;
    firstLeaked ??= end;
  }
  if (leaked > 0) list.add(finding('space-leaked', firstLeaked, leaked, INFO));
  return { reserved };
}
