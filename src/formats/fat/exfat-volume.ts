import { safeNumber } from '../../binary/index.ts';
import { type FileSystem, type FreeRange, joinRanges, type VolumeBytes, type VolumeState } from '../file-system.ts';
import { OwnedRanges, zeroRuns } from '../free-runs.ts';
import { corrupt } from './corruption.ts';
import { type ExfatBoot, readExfatBoot } from './exfat-boot.ts';
import {
  DIRECTORY_ENTRY_BYTES,
  EXFAT_ACTIVE_FAT,
  EXFAT_AT,
  EXFAT_BITMAP_ENTRY,
  EXFAT_DIRTY,
  EXFAT_ENTRY_AT,
  EXFAT_MEDIA_FAILURE,
} from './format.ts';

const PIECE_BYTES = 64 * 1024;
/** The bitmap's entry is among the first of the root folder: as much of it is looked at. */
const MAX_ROOT_BYTES = 16 * 1024 * 1024;

interface BitmapPlace {
  readonly clusters: readonly number[];
  readonly rootClusters: readonly number[];
}

/** @throws HvError `corrupt`, `io`; a volume without the name must not come here */
export function readExfat(volume: VolumeBytes): FileSystem {
  const boot = readExfatBoot(volume);
  if (!boot) throw corrupt('exfat-shape', EXFAT_AT.sectorShift, 0);
  if (boot.sizeBytes > volume.sizeBytes) throw corrupt('size', EXFAT_AT.volumeLength, boot.sizeBytes);
  return {
    kind: 'exfat',
    sizeBytes: boot.sizeBytes,
    blockSizeBytes: boot.clusterSizeBytes,
    ...stateOf(boot),
    freeRanges: () => joinRanges(freeRanges(volume, boot)),
  };
}

function stateOf({ major, flags, fatCount }: ExfatBoot): { readonly state: VolumeState; readonly why: string } {
  if (major !== 1 || fatCount !== 1) {
    return { state: 'unsupported', why: 'it is of a version, or has a second table, that hv does not know' };
  }
  if ((flags & EXFAT_DIRTY) !== 0) return { state: 'dirty', why: 'its dirty flag is set' };
  if ((flags & EXFAT_MEDIA_FAILURE) !== 0) return { state: 'dirty', why: 'it has noted errors of its disk' };
  if ((flags & EXFAT_ACTIVE_FAT) !== 0)
    return { state: 'damaged', why: 'it uses a second table that it does not have' };
  return { state: 'clean', why: '' };
}

function* freeRanges(volume: VolumeBytes, boot: ExfatBoot): Generator<FreeRange> {
  const { clusters, clusterSizeBytes, heapOffset } = boot;
  const { clusters: places, rootClusters } = findBitmap(volume, boot);
  const owned = new OwnedRanges([...places, ...rootClusters].map((cluster) => ({ offset: cluster - 2, length: 1 })));
  const neededBytes = Math.ceil(clusters / 8);
  const pieceBytes = Math.min(PIECE_BYTES, clusterSizeBytes);
  for (let at = 0; at < neededBytes; at += pieceBytes) {
    const count = Math.min(pieceBytes, neededBytes - at);
    const cluster = places[Math.floor(at / clusterSizeBytes)] ?? 2;
    const piece = volume.read(heapOffset + (cluster - 2) * clusterSizeBytes + (at % clusterSizeBytes), count);
    for (const run of zeroRuns(piece, Math.min(count * 8, clusters - at * 8))) {
      const first = at * 8 + run.first;
      if (owned.overlaps(first, run.count)) throw corrupt('exfat-metadata-free', at, first);
      yield { offset: heapOffset + first * clusterSizeBytes, length: run.count * clusterSizeBytes };
    }
  }
}

/** Finds the bitmap's entry in the root folder (section 7.1). */
function findBitmap(volume: VolumeBytes, boot: ExfatBoot): BitmapPlace {
  const { clusterSizeBytes, heapOffset, rootCluster, clusters } = boot;
  const rootClusters = chain(volume, boot, rootCluster, Math.ceil(MAX_ROOT_BYTES / clusterSizeBytes));
  for (const cluster of rootClusters) {
    const offset = heapOffset + (cluster - 2) * clusterSizeBytes;
    const bytes = volume.read(offset, clusterSizeBytes);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = 0; at < bytes.length; at += DIRECTORY_ENTRY_BYTES) {
      const type = view.getUint8(at + EXFAT_ENTRY_AT.type);
      if (type === 0) throw corrupt('exfat-bitmap', offset + at, 0);
      if (type !== EXFAT_BITMAP_ENTRY || (view.getUint8(at + EXFAT_ENTRY_AT.flags) & 1) !== 0) continue;
      const length = safeNumber(view.getBigUint64(at + EXFAT_ENTRY_AT.dataLength, true));
      if (length === undefined || length < Math.ceil(clusters / 8))
        throw corrupt('exfat-bitmap', offset + at, length ?? 0);
      const needed = Math.ceil(Math.ceil(clusters / 8) / clusterSizeBytes);
      const found = chain(volume, boot, view.getUint32(at + EXFAT_ENTRY_AT.firstCluster, true), needed);
      if (found.length < needed) throw corrupt('exfat-bitmap', offset + at, found.length);
      return { clusters: found, rootClusters };
    }
  }
  throw corrupt('exfat-bitmap', heapOffset, rootClusters.length);
}

/** Follows a chain through the table for at most `limit` clusters. @throws HvError `corrupt`: it leaves the volume */
function chain(volume: VolumeBytes, boot: ExfatBoot, first: number, limit: number): number[] {
  const found: number[] = [];
  for (let cluster = first; cluster < 0xffff_fff7 && found.length < limit; ) {
    if (cluster < 2 || cluster >= boot.clusters + 2) throw corrupt('exfat-chain', first, cluster);
    found.push(cluster);
    const entry = volume.read(boot.fatOffset + cluster * 4, 4);
    cluster = new DataView(entry.buffer, entry.byteOffset, 4).getUint32(0, true);
  }
  return found;
}
