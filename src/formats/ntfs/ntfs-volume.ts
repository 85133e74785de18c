import { type FileSystem, type FreeRange, joinRanges, type VolumeBytes, type VolumeState } from '../file-system.ts';
import { OwnedRanges, zeroRuns } from '../free-runs.ts';
import { hasNtfsName, type NtfsBoot, readNtfsBoot } from './boot-sector.ts';
import { corrupt } from './corruption.ts';
import {
  ATTRIBUTE,
  ATTRIBUTE_TRANSFORMED,
  BOOT_AT,
  RECORD,
  VOLUME_CHECK_UNDERWAY,
  VOLUME_DIRTY,
  VOLUME_FLAGS_AT,
  VOLUME_MUST_RESIZE_LOG,
  VOLUME_MUST_UPGRADE,
} from './format.ts';
import { readLogState } from './log-file.ts';
import { MasterFileTable, type Stream } from './master-file-table.ts';
import { findInRoot } from './root-folder.ts';

const PIECE_BYTES = 64 * 1024;
/** The system files: their clusters can never be free. */
const SYSTEM_RECORDS = 12;
/** Signatures of a hibernation file from which nothing would be resumed: never used, resumed, thrown away. */
const SPENT_SIGNATURES = ['wake', 'rstr'];

/**
 * Reads an NTFS volume: what state it is in and which of its clusters are free.
 * @returns undefined where there is none
 * @throws HvError `corrupt`, `io`
 */
export function readNtfs(volume: VolumeBytes): FileSystem | undefined {
  if (!hasNtfsName(volume)) return undefined;
  const boot = readNtfsBoot(volume);
  const { totalSectors, sectorSizeBytes, clusterSizeBytes } = boot;
  if (totalSectors * sectorSizeBytes > volume.sizeBytes) throw corrupt('boot-size', BOOT_AT.totalSectors, totalSectors);
  const table = new MasterFileTable(volume, boot);
  return {
    kind: 'ntfs',
    sizeBytes: Math.min(volume.sizeBytes, (totalSectors + 1) * sectorSizeBytes),
    blockSizeBytes: clusterSizeBytes,
    ...stateOf(table, boot),
    freeRanges: () => joinRanges(freeRanges(table, boot)),
  };
}

function stateOf(table: MasterFileTable, boot: NtfsBoot): { readonly state: VolumeState; readonly why: string } {
  const information = needed(table, RECORD.volume, ATTRIBUTE.volumeInformation).value;
  if (!information || information.length < VOLUME_FLAGS_AT + 2) throw corrupt('attribute-missing', 0, RECORD.volume);
  const major = information[VOLUME_FLAGS_AT - 2] ?? 0;
  const minor = information[VOLUME_FLAGS_AT - 1] ?? 0;
  if (major !== 3 || minor > 1) {
    return { state: 'unsupported', why: `its version is ${major}.${minor}; hv knows 3.0 and 3.1` };
  }
  const flags = (information[VOLUME_FLAGS_AT] ?? 0) + (information[VOLUME_FLAGS_AT + 1] ?? 0) * 256;
  if ((flags & VOLUME_DIRTY) !== 0) return { state: 'dirty', why: 'its dirty flag is set' };
  if ((flags & (VOLUME_MUST_RESIZE_LOG | VOLUME_MUST_UPGRADE | VOLUME_CHECK_UNDERWAY)) !== 0) {
    return { state: 'dirty', why: 'Windows has left work to be done at the next mount' };
  }
  if (isHibernated(table, boot)) return { state: 'hibernated', why: 'a hibernated Windows holds more of it in memory' };
  const log = readLogState(table, needed(table, RECORD.logFile, ATTRIBUTE.data));
  if (log === 'open') return { state: 'needs-recovery', why: 'its log has something to replay' };
  if (log === 'kept') return { state: 'needs-recovery', why: 'Windows was shut down with fast startup' };
  return { state: 'clean', why: '' };
}

/** Whether the root folder has a hibernation file from which a system would be resumed. */
function isHibernated(table: MasterFileTable, boot: NtfsBoot): boolean {
  return findInRoot(table, boot, 'hiberfil.sys').some((record) => {
    const stream = table.stream(record, ATTRIBUTE.data, '');
    if (!stream || stream.sizeBytes === 0) return false;
    const start = table.readStream(stream, 0, Math.min(4096, stream.sizeBytes));
    const signature = Buffer.from(start.subarray(0, 4)).toString('latin1').toLowerCase();
    return !start.every((byte) => byte === 0) && !SPENT_SIGNATURES.includes(signature);
  });
}

function* freeRanges(table: MasterFileTable, boot: NtfsBoot): Generator<FreeRange> {
  const { clusters, clusterSizeBytes } = boot;
  const bitmap = needed(table, RECORD.bitmap, ATTRIBUTE.data);
  const neededBytes = Math.ceil(clusters / 8);
  const written = bitmap.value ? bitmap.sizeBytes : Math.min(bitmap.sizeBytes, bitmap.initializedBytes);
  if (written < neededBytes || (bitmap.flags & ATTRIBUTE_TRANSFORMED) !== 0) {
    throw corrupt('bitmap-short', 0, written);
  }
  mustHaveSpace(bitmap, neededBytes, clusterSizeBytes);
  const owned = new OwnedRanges(systemClusters(table));
  for (let at = 0; at < neededBytes; at += PIECE_BYTES) {
    const count = Math.min(PIECE_BYTES, neededBytes - at);
    const piece = table.readStream(bitmap, at, count);
    for (const run of zeroRuns(piece, Math.min(count * 8, clusters - at * 8))) {
      const first = at * 8 + run.first;
      if (owned.overlaps(first, run.count)) throw corrupt('bitmap-metadata-free', at, first);
      yield { offset: first * clusterSizeBytes, length: run.count * clusterSizeBytes };
    }
  }
}

/** A hole would read as zeros, which in a bitmap means free. */
function mustHaveSpace(stream: Stream, length: number, clusterSizeBytes: number): void {
  if (stream.value) return;
  let covered = 0;
  for (const { cluster, count } of stream.runs) {
    if (covered >= length) return;
    if (cluster < 0) throw corrupt('runs-hole', covered, count);
    covered += count * clusterSizeBytes;
  }
  if (covered < length) throw corrupt('bitmap-short', 0, covered);
}

/** In clusters: everything that the system files hold. */
function systemClusters(table: MasterFileTable): FreeRange[] {
  const found: FreeRange[] = [{ offset: 0, length: 1 }];
  for (let record = 0; record < SYSTEM_RECORDS; record++) {
    for (const attribute of table.attributes(record)) {
      if (attribute.value) continue;
      for (const { cluster, count } of attribute.runs) {
        if (cluster >= 0) found.push({ offset: cluster, length: count });
      }
    }
  }
  return found;
}

function needed(table: MasterFileTable, record: number, type: number): Stream {
  const stream = table.stream(record, type, '');
  if (!stream) throw corrupt('attribute-missing', 0, record);
  return stream;
}
