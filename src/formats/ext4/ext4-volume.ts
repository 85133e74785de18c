import { type FileSystem, type FreeRange, joinRanges, type VolumeBytes, type VolumeState } from '../file-system.ts';
import { type BitRun, OwnedRanges, zeroRuns } from '../free-runs.ts';
import { corrupt } from './corruption.ts';
import {
  INCOMPAT,
  RO_COMPAT,
  STATE_CLEAN,
  STATE_ERRORS,
  STATE_ORPHANS,
  SUPER_AT,
  SUPERBLOCK_OFFSET,
} from './format.ts';
import { checksumOf, GroupTable } from './groups.ts';
import { hasBit, hasExtMagic, readSuperblock, type Superblock } from './superblock.ts';

const KNOWN_INCOMPATIBLE = Object.values(INCOMPAT).reduce((all, bit) => all | bit, 0);
const KNOWN_READ_ONLY = Object.values(RO_COMPAT).reduce((all, bit) => all | bit, 0);

/**
 * Reads an ext2, ext3 or ext4 volume: what state it is in and which of its blocks are free.
 * @returns undefined where there is none
 * @throws HvError `corrupt` (the superblock), `io`
 */
export function readExt(volume: VolumeBytes): FileSystem | undefined {
  if (!hasExtMagic(volume)) return undefined;
  const superblock = readSuperblock(volume);
  const { kind, blocks, blockSizeBytes } = superblock;
  const sizeBytes = blocks * blockSizeBytes;
  if (sizeBytes > volume.sizeBytes) throw corrupt('super-size', SUPERBLOCK_OFFSET + SUPER_AT.blocksCountLow, blocks);
  return {
    kind,
    sizeBytes,
    blockSizeBytes,
    ...stateOf(superblock),
    freeRanges: () => joinRanges(freeRanges(volume, superblock)),
  };
}

function stateOf(superblock: Superblock): { readonly state: VolumeState; readonly why: string } {
  const { state, incompatible, readOnlyCompatible, errorCount, lastOrphan } = superblock;
  const unknown = hasBit(incompatible, ~KNOWN_INCOMPATIBLE) || hasBit(readOnlyCompatible, ~KNOWN_READ_ONLY);
  if (unknown || hasBit(incompatible, INCOMPAT.journalDevice)) {
    return { state: 'unsupported', why: 'it has features that hv does not know' };
  }
  if (hasBit(incompatible, INCOMPAT.recover)) {
    return { state: 'needs-recovery', why: 'its journal has something to replay' };
  }
  if (hasBit(state, STATE_ERRORS) || errorCount > 0) return { state: 'dirty', why: 'it has noted errors' };
  if (!hasBit(state, STATE_CLEAN)) return { state: 'dirty', why: 'it was not unmounted' };
  if (hasBit(state, STATE_ORPHANS) || lastOrphan !== 0 || hasBit(readOnlyCompatible, RO_COMPAT.orphanPresent)) {
    return { state: 'dirty', why: 'it has deleted files that are not cleaned up' };
  }
  return { state: 'clean', why: '' };
}

function* freeRanges(volume: VolumeBytes, superblock: Superblock): Generator<FreeRange> {
  const { blocks, blockSizeBytes, blocksPerCluster, clustersPerGroup } = superblock;
  const table = new GroupTable(volume, superblock);
  const owned = new OwnedRanges(structures(table, superblock));
  // The same again, to work out the bitmaps that were never written.
  const metadata = owned.again();
  for (let number = 0; number < superblock.groups; number++) {
    const group = table.group(number);
    const first = table.firstBlock(number);
    const clusters = Math.ceil(table.blockCount(number) / blocksPerCluster);
    let runs: Iterable<BitRun>;
    if (group.isUninitialized) {
      runs = runsBetween(metadata.within(first, clusters * blocksPerCluster), first, clusters, blocksPerCluster);
    } else {
      const offset = group.blockBitmap * blockSizeBytes;
      const bitmap = volume.read(offset, clustersPerGroup / 8);
      mustHaveChecksum(superblock, bitmap, group.bitmapChecksum, offset);
      runs = zeroRuns(bitmap, clusters);
    }
    let freeClusters = 0;
    for (const run of runs) {
      freeClusters += run.count;
      const start = first + run.first * blocksPerCluster;
      const end = Math.min(blocks, start + run.count * blocksPerCluster);
      if (owned.overlaps(start, end - start)) {
        throw corrupt('bitmap-metadata-free', group.blockBitmap * blockSizeBytes, start);
      }
      yield { offset: start * blockSizeBytes, length: (end - start) * blockSizeBytes };
    }
    if (freeClusters !== group.freeClusters) {
      throw corrupt('group-free-count', group.blockBitmap * blockSizeBytes, group.freeClusters);
    }
  }
}

/** A group whose bitmap was never written: every cluster that a structure touches is in use, all others are free. */
function* runsBetween(
  used: Iterable<FreeRange>,
  firstBlock: number,
  clusters: number,
  blocksPerCluster: number,
): Generator<BitRun> {
  let at = 0;
  for (const { offset, length } of used) {
    const from = Math.floor((offset - firstBlock) / blocksPerCluster);
    if (from > at) yield { first: at, count: from - at };
    at = Math.max(at, Math.ceil((offset + length - firstBlock) / blocksPerCluster));
  }
  if (at < clusters) yield { first: at, count: clusters - at };
}

/** In blocks: every copy of the superblock and the descriptors, and each group's bitmaps and inode table. */
function* structures(table: GroupTable, superblock: Superblock): Generator<FreeRange> {
  yield { offset: 0, length: superblock.firstDataBlock + 1 };
  for (let number = 0; number < superblock.groups; number++) {
    const base = table.baseBlocks(number);
    if (base > 0) yield { offset: table.firstBlock(number), length: base };
    const { blockBitmap, inodeBitmap, inodeTable } = table.group(number);
    yield { offset: blockBitmap, length: 1 };
    yield { offset: inodeBitmap, length: 1 };
    yield { offset: inodeTable, length: table.inodeTableBlocks };
  }
}

function mustHaveChecksum(superblock: Superblock, bitmap: Uint8Array, stored: number, offset: number): void {
  const { readOnlyCompatible, checksumSeed, descriptorBytes } = superblock;
  if (!hasBit(readOnlyCompatible, RO_COMPAT.metadataChecksum)) return;
  const found = checksumOf(checksumSeed, [bitmap]);
  // Descriptors of 32 bytes have room for the lower half only.
  const isRight = descriptorBytes > 32 ? found === stored : (found & 0xffff) === stored;
  if (!isRight) throw corrupt('bitmap-checksum', offset, stored);
}
