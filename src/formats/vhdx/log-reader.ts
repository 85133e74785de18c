import { crc32c, readGuid, safeNumber } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import { corrupt } from './corruption.ts';
import {
  DATA_DESCRIPTOR_SIGNATURE,
  DATA_SECTOR_AT,
  DATA_SECTOR_SIGNATURE,
  DESCRIPTOR_AT,
  DESCRIPTOR_BYTES,
  ENTRY_AT,
  ENTRY_HEADER_BYTES,
  ENTRY_SIGNATURE,
  FIRST_LOGGED_OFFSET,
  LOG_SECTOR,
  MIB,
  type VhdxHeader,
  ZERO_DESCRIPTOR_SIGNATURE,
} from './format.ts';
import { unsyncedLogGuid } from './log-writer.ts';

/** No file that hv opens reaches this end; offsets beyond it come from damage or malice. */
const MAX_FILE_END = 2 ** 47;
/** How many updates a replay in memory may hold: a log of 1 MiB holds at most 32,768. */
const MAX_UPDATES_IN_MEMORY = 65_536;

/** Where a replay's updates go: the file itself, or an overlay when it must not change. */
export interface ReplayTarget {
  writeSector(fileOffset: number, sector: Uint8Array): void;
  zero(fileOffset: number, length: number): void;
  /** The file is at least this long afterwards. */
  extend(sizeBytes: number): void;
}

export interface ReplayOptions {
  readonly inMemory: boolean;
  /** Names this run of the host: entries that are valid only while it lasts count too (see LogWriter). */
  readonly hostRun: string | undefined;
}

interface LogEntry {
  readonly position: number;
  readonly length: number;
  readonly sequence: bigint;
  readonly tail: number;
  readonly descriptorCount: number;
  readonly flushedFileOffset: bigint;
  readonly lastFileOffset: bigint;
  readonly isUnsynced: boolean;
}

/**
 * Replays the log's active sequence (2.3.3).
 * The work is linear in the log's length whatever it holds: an entry's inner sectors carry other signatures than an
 * entry's first, so no sector is part of two entries that both get as far as the checksum.
 * @throws HvError `corrupt` when no sequence is complete, the file was cut short, or an update would hit what a log must not touch
 */
export function replayLog(store: ByteStore, header: VhdxHeader, target: ReplayTarget, options: ReplayOptions): void {
  const ring = new LogRing(store, header.logOffset, header.logLength);
  const entries = findEntries(ring, header.logGuid, options.hostRun);
  const active = activeSequence(entries, header.logLength);
  const head = active.at(-1);
  if (!head) throw corrupt(store.name, 'log-no-valid-sequence', header.logOffset, header.logGuid);
  const flushed = safeNumber(head.flushedFileOffset) ?? Number.POSITIVE_INFINITY;
  if (store.size() < flushed) throw corrupt(store.name, 'log-truncated-file', store.size(), head.flushedFileOffset);

  const replayed = [...active, ...unsyncedAfter(head, entries, header.logLength)];
  const updates = replayed.reduce((sum, entry) => sum + entry.descriptorCount, 0);
  if (options.inMemory && updates > MAX_UPDATES_IN_MEMORY) {
    throw new HvError('unsupported', `the log of ${store.name} is too long to be replayed in memory`, {
      detail: { path: store.name, updates },
      hint: 'Open the disk once for writing; then its log is empty.',
    });
  }
  // Judge everything before anything is written.
  for (const entry of replayed) forEachUpdate(ring, entry, () => {});
  for (const entry of replayed) forEachUpdate(ring, entry, (update) => update(target));
  const last = safeNumber((replayed.at(-1) ?? head).lastFileOffset);
  if (last === undefined || last > MAX_FILE_END || last % MIB !== 0) {
    throw corrupt(store.name, 'log-descriptor-range', header.logOffset + head.position, head.lastFileOffset);
  }
  target.extend(last);
}

/** The log's bytes as the ring they are. */
class LogRing {
  readonly store: ByteStore;
  readonly offset: number;
  readonly length: number;

  constructor(store: ByteStore, offset: number, length: number) {
    this.store = store;
    this.offset = offset;
    this.length = length;
  }

  /** Reads the sector at `position`, which may lie a lap ahead. */
  readSector(position: number, into: Uint8Array): void {
    this.store.read(this.offset + (position % this.length), into, 0, LOG_SECTOR);
  }
}

function findEntries(ring: LogRing, logGuid: string, hostRun: string | undefined): Map<number, LogEntry> {
  const unsyncedGuid = hostRun === undefined ? undefined : unsyncedLogGuid(logGuid, hostRun);
  const found = new Map<number, LogEntry>();
  const chunk = new Uint8Array(MIB);
  const view = new DataView(chunk.buffer);
  // Beyond the file's end lies no entry: a log that claims gigabytes costs no more than the file has.
  const scanned = Math.min(ring.length, ring.store.size() - ring.offset);
  for (let base = 0; base < scanned; base += MIB) {
    ring.store.read(ring.offset + base, chunk, 0, MIB);
    for (let inChunk = 0; inChunk < MIB; inChunk += LOG_SECTOR) {
      if (view.getUint32(inChunk, true) !== ENTRY_SIGNATURE) continue;
      const entry = parseEntry(
        ring,
        base + inChunk,
        chunk.subarray(inChunk, inChunk + LOG_SECTOR),
        logGuid,
        unsyncedGuid,
      );
      if (entry) found.set(entry.position, entry);
    }
  }
  return found;
}

/** An entry of which every field, signature, sequence number and the checksum hold (2.3.1); undefined is no entry. */
function parseEntry(
  ring: LogRing,
  position: number,
  first: Uint8Array,
  logGuid: string,
  unsyncedGuid: string | undefined,
): LogEntry | undefined {
  const view = new DataView(first.buffer, first.byteOffset, LOG_SECTOR);
  const guid = readGuid(first, ENTRY_AT.logGuid);
  if (guid !== logGuid && guid !== unsyncedGuid) return undefined;
  const length = view.getUint32(ENTRY_AT.entryLength, true);
  const tail = view.getUint32(ENTRY_AT.tail, true);
  const sequence = view.getBigUint64(ENTRY_AT.sequenceNumber, true);
  const descriptorCount = view.getUint32(ENTRY_AT.descriptorCount, true);
  if (length < LOG_SECTOR || length % LOG_SECTOR !== 0 || length > ring.length) return undefined;
  if (tail % LOG_SECTOR !== 0 || tail >= ring.length || sequence === 0n) return undefined;
  const descriptorSectors = Math.ceil((ENTRY_HEADER_BYTES + descriptorCount * DESCRIPTOR_BYTES) / LOG_SECTOR);
  if (descriptorSectors * LOG_SECTOR > length) return undefined;

  const sector = new Uint8Array(LOG_SECTOR);
  const sectorView = new DataView(sector.buffer);
  let crc = 0;
  let dataCount = 0;
  for (let index = 0; index < length / LOG_SECTOR; index++) {
    ring.readSector(position + index * LOG_SECTOR, sector);
    if (index < descriptorSectors) {
      const counted = countDataDescriptors(sectorView, index, descriptorCount, sequence);
      if (counted === undefined) return undefined;
      dataCount += counted;
      if (index === 0) sectorView.setUint32(ENTRY_AT.checksum, 0, true);
    } else if (!isDataSector(sectorView, sequence)) {
      return undefined;
    }
    crc = crc32c(sector, 0, LOG_SECTOR, crc);
  }
  if (length !== (descriptorSectors + dataCount) * LOG_SECTOR || crc !== view.getUint32(ENTRY_AT.checksum, true))
    return undefined;
  return {
    position,
    length,
    sequence,
    tail,
    descriptorCount,
    flushedFileOffset: view.getBigUint64(ENTRY_AT.flushedFileOffset, true),
    lastFileOffset: view.getBigUint64(ENTRY_AT.lastFileOffset, true),
    isUnsynced: guid !== logGuid,
  };
}

/** Where the descriptors of the entry's index-th descriptor sector lie: the first sector has the header before them. */
function descriptorRange(index: number, descriptorCount: number): { readonly start: number; readonly end: number } {
  const before = index === 0 ? 0 : (index * LOG_SECTOR - ENTRY_HEADER_BYTES) / DESCRIPTOR_BYTES;
  const start = index === 0 ? ENTRY_HEADER_BYTES : 0;
  return { start, end: Math.min(LOG_SECTOR, start + (descriptorCount - before) * DESCRIPTOR_BYTES) };
}

function countDataDescriptors(
  view: DataView,
  index: number,
  descriptorCount: number,
  sequence: bigint,
): number | undefined {
  const { start, end } = descriptorRange(index, descriptorCount);
  let dataCount = 0;
  for (let at = start; at < end; at += DESCRIPTOR_BYTES) {
    const signature = view.getUint32(at + DESCRIPTOR_AT.signature, true);
    if (signature === DATA_DESCRIPTOR_SIGNATURE) dataCount++;
    else if (signature !== ZERO_DESCRIPTOR_SIGNATURE) return undefined;
    if (view.getBigUint64(at + DESCRIPTOR_AT.sequenceNumber, true) !== sequence) return undefined;
  }
  return dataCount;
}

function isDataSector(view: DataView, sequence: bigint): boolean {
  return (
    view.getUint32(DATA_SECTOR_AT.signature, true) === DATA_SECTOR_SIGNATURE &&
    view.getUint32(DATA_SECTOR_AT.sequenceHigh, true) === Number(sequence >> 32n) &&
    view.getUint32(DATA_SECTOR_AT.sequenceLow, true) === Number(sequence & 0xffffffffn)
  );
}

/** The valid and complete sequence whose head has the highest number (2.3.2). Looks at each run of entries once. */
function activeSequence(entries: ReadonlyMap<number, LogEntry>, logLength: number): LogEntry[] {
  const continued = new Set<LogEntry>();
  for (const entry of entries.values()) {
    const next = follower(entry, entries, logLength);
    if (next && !entry.isUnsynced && !next.isUnsynced) continued.add(next);
  }
  let best: LogEntry[] = [];
  for (const start of entries.values()) {
    if (start.isUnsynced || continued.has(start)) continue;
    const run: LogEntry[] = [];
    for (
      let entry: LogEntry | undefined = start;
      entry && !entry.isUnsynced;
      entry = follower(entry, entries, logLength)
    ) {
      run.push(entry);
    }
    const head = run.at(-1);
    const tailIndex = run.findIndex((entry) => entry.position === head?.tail);
    if (head && tailIndex >= 0 && head.sequence > (best.at(-1)?.sequence ?? 0n)) best = run.slice(tailIndex);
  }
  return best;
}

function unsyncedAfter(head: LogEntry, entries: ReadonlyMap<number, LogEntry>, logLength: number): LogEntry[] {
  const run: LogEntry[] = [];
  for (let entry = follower(head, entries, logLength); entry; entry = follower(entry, entries, logLength))
    run.push(entry);
  return run;
}

function follower(entry: LogEntry, entries: ReadonlyMap<number, LogEntry>, logLength: number): LogEntry | undefined {
  const next = entries.get((entry.position + entry.length) % logLength);
  return next && next.sequence === entry.sequence + 1n ? next : undefined;
}

type Update = (target: ReplayTarget) => void;

function forEachUpdate(ring: LogRing, entry: LogEntry, visit: (update: Update) => void): void {
  const descriptors = new Uint8Array(LOG_SECTOR);
  const view = new DataView(descriptors.buffer);
  const data = new Uint8Array(LOG_SECTOR);
  const descriptorSectors = Math.ceil((ENTRY_HEADER_BYTES + entry.descriptorCount * DESCRIPTOR_BYTES) / LOG_SECTOR);
  let dataPosition = entry.position + descriptorSectors * LOG_SECTOR;
  for (let index = 0; index < descriptorSectors; index++) {
    ring.readSector(entry.position + index * LOG_SECTOR, descriptors);
    const { start, end } = descriptorRange(index, entry.descriptorCount);
    for (let at = start; at < end; at += DESCRIPTOR_BYTES) {
      const isData = view.getUint32(at + DESCRIPTOR_AT.signature, true) === DATA_DESCRIPTOR_SIGNATURE;
      const { fileOffset, length } = loggableRange(
        ring,
        view.getBigUint64(at + DESCRIPTOR_AT.fileOffset, true),
        isData ? BigInt(LOG_SECTOR) : view.getBigUint64(at + DESCRIPTOR_AT.long, true),
      );
      if (!isData) {
        visit((target) => target.zero(fileOffset, length));
        continue;
      }
      ring.readSector(dataPosition, data);
      dataPosition += LOG_SECTOR;
      data.set(descriptors.subarray(at + DESCRIPTOR_AT.long, at + DESCRIPTOR_AT.long + 8), 0);
      data.set(descriptors.subarray(at + DESCRIPTOR_AT.word, at + DESCRIPTOR_AT.word + 4), DATA_SECTOR_AT.sequenceLow);
      visit((target) => target.writeSector(fileOffset, data));
    }
  }
}

/** Nothing before the region tables and nothing of the log itself may be changed by a replay. */
function loggableRange(ring: LogRing, offset: bigint, size: bigint): { fileOffset: number; length: number } {
  const fileOffset = safeNumber(offset) ?? Number.NaN;
  const length = safeNumber(size) ?? Number.NaN;
  const end = fileOffset + length;
  const isSound =
    fileOffset % LOG_SECTOR === 0 &&
    length % LOG_SECTOR === 0 &&
    fileOffset >= FIRST_LOGGED_OFFSET &&
    end <= MAX_FILE_END &&
    (end <= ring.offset || fileOffset >= ring.offset + ring.length);
  if (!isSound) throw corrupt(ring.store.name, 'log-descriptor-range', Number(offset), size);
  return { fileOffset, length };
}
