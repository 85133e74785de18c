import { HvError, isHvError } from '../errors/index.ts';
import type { DiskImage } from '../formats/disk-image.ts';
import { DiskChain } from './disk-chain.ts';
import type { DiskFormat } from './disk-format.ts';
import { type ChainLayer, closeQuietly, openImageChain } from './open-chain.ts';
import { type OpenVhdOptions, openVhd } from './open-vhd.ts';
import { smallestSafeSize } from './volumes/smallest-safe-size.ts';

/** Between two blocks that follow each other in the file, a sector bitmap may lie. */
const MAX_GAP_BYTES = 2 ** 20;

/** What only a disk's contents, and its whole block table, tell. */
export interface VhdContentInfo {
  /**
   * How many of a hundred blocks lie out of order: a block is in order when it lies right behind the block that comes
   * before it on the disk, of those that the file holds; the first one always is. Rounded down; null for a raw file.
   */
  readonly fragmentationPercent: number | null;
  readonly is4kAligned: boolean;
  readonly smallestSafeSizeBytes: number | null;
}

/**
 * Reads what must be read for it. A disk in use is not: its answers are null.
 * @throws HvError `corrupt`, `io`, `aborted`, and as openVhd but for a parent that cannot be opened
 */
export async function readContentInfo(
  disk: {
    readonly path: string;
    readonly format: DiskFormat;
    readonly inUse: boolean;
    readonly is4kAligned: boolean | null;
  },
  options: Pick<OpenVhdOptions, 'allowParents' | 'signal'>,
): Promise<Partial<VhdContentInfo>> {
  const { path, format, inUse } = disk;
  if (inUse) return {};
  if (format === 'raw') {
    await using raw = await openVhd(path, { readOnly: true, format });
    return { smallestSafeSizeBytes: smallestSafeSize(raw) };
  }
  let layers: ChainLayer[];
  try {
    const { allowParents = [], signal } = options;
    layers = openImageChain(path, { format, readOnly: true, allowParents, signal });
  } catch (error) {
    if (!isHvError(error) || !BROKEN_CHAIN.has(error.code)) throw error;
    return {};
  }
  const [leaf] = layers;
  if (!leaf) {
    closeQuietly(layers);
    throw new HvError('internal', 'an open chain has a leaf');
  }
  await using chain = new DiskChain(layers);
  return { ...layoutOf(leaf.image), smallestSafeSizeBytes: smallestSafeSize(chain) };
}

/** The disk cannot be read as a whole; what its file alone says stays true. */
const BROKEN_CHAIN: ReadonlySet<string> = new Set(['not-found', 'permission-denied', 'parent-changed', 'in-use']);

function layoutOf(image: DiskImage): Pick<VhdContentInfo, 'fragmentationPercent' | 'is4kAligned'> {
  const blockSize = image.blockSizeBytes;
  if (blockSize === null) return { fragmentationPercent: 0, is4kAligned: true };
  let blocks = 0;
  let outOfOrder = 0;
  let isAligned = true;
  let lastBlock = -1;
  let expected = 0;
  for (const { offset, length, kind, depth, fileOffset } of image.segments(0, image.sizeBytes)) {
    if (kind !== 'data' || depth !== 0) continue;
    const first = Math.floor(offset / blockSize);
    const last = Math.floor((offset + length - 1) / blockSize);
    const start = fileOffset - (offset - first * blockSize);
    isAligned &&= start % 4096 === 0;
    if (first !== lastBlock) {
      const isBehind = start >= expected && start - expected <= MAX_GAP_BYTES;
      if (blocks > 0 && !isBehind) outOfOrder++;
      blocks++;
    }
    // A run of several blocks lies in one piece.
    blocks += last - first;
    lastBlock = last;
    expected = start + (last - first + 1) * blockSize;
  }
  return { fragmentationPercent: blocks === 0 ? 0 : Math.floor((100 * outOfOrder) / blocks), is4kAligned: isAligned };
}
