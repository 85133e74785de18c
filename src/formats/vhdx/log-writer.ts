import { crc32c, crc32cOfDifference, readGuid, writeGuid } from '../../binary/index.ts';
import { invariant } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import {
  DATA_DESCRIPTOR_SIGNATURE,
  DATA_SECTOR_AT,
  DATA_SECTOR_SIGNATURE,
  DESCRIPTOR_AT,
  DESCRIPTOR_BYTES,
  ENTRY_AT,
  ENTRY_HEADER_BYTES,
  ENTRY_SIGNATURE,
  LOG_SECTOR,
} from './format.ts';

/** A 4 KiB piece of metadata that an entry carries: what is to lie at `fileOffset`. */
export interface LoggedSector {
  readonly fileOffset: number;
  readonly bytes: Uint8Array;
}

/** The file's length as it was last made durable, and as it is now. */
export interface FileSizes {
  readonly flushedSizeBytes: number;
  readonly sizeBytes: number;
}

interface WrittenEntry {
  readonly sequence: number;
  /** Position in the ring, and length. */
  readonly position: number;
  readonly length: number;
  /** The oldest entry that the ring needed when this one was written. */
  readonly tailSequence: number;
  /** For an unsynced entry: its first 64 bytes as they must be once it counts. */
  promotedHeader: Uint8Array | undefined;
}

/**
 * The GUID of entries that count only while this run of the host lasts: derived from the log's own, so no other
 * reader takes them for valid.
 */
export function unsyncedLogGuid(logGuid: string, hostRun: string): string {
  const bytes = new Uint8Array(32);
  writeGuid(bytes, 0, logGuid);
  writeGuid(bytes, 16, hostRun);
  for (let index = 0; index < 16; index++) bytes[index] = (bytes[index] ?? 0) ^ (bytes[index + 16] ?? 0);
  return readGuid(bytes);
}

/**
 * Writes entries into the log's ring (2.3) and knows which parts of it are still needed. Does no flush itself: its
 * owner reports what became durable.
 *
 * Unsynced entries. Death of the process must lose no acknowledged write, so an entry is in the file before the write
 * that needed it is acknowledged; a power cut must not make an entry count whose payload was lost, when that payload
 * was to hide a parent's data. Both hold when such an entry first carries a GUID that is valid only for this run of
 * the host (a power cut ends it) and gets the log's GUID, by promote(), once its payload is durable.
 */
export class LogWriter {
  readonly logGuid: string;
  readonly #store: ByteStore;
  readonly #offset: number;
  readonly #length: number;
  readonly #guid = new Uint8Array(16);
  readonly #unsyncedGuid: Uint8Array | undefined;
  /** What the two GUIDs differ by, for the checksum of the promoted form. */
  readonly #guidDifference = new Uint8Array(16);
  readonly #checksumDifference = new Map<number, number>();
  readonly #entries: WrittenEntry[] = [];
  #buffer = new Uint8Array(8 * LOG_SECTOR);
  #head = 0;
  #used = 0;
  #lastSequence = 0;
  #durableSequence = 0;
  #tailSequence = 1;
  #unsyncedCount = 0;

  constructor(
    store: ByteStore,
    place: {
      readonly offset: number;
      readonly length: number;
      readonly guid: string;
      readonly hostRun: string | undefined;
    },
  ) {
    this.#store = store;
    this.#offset = place.offset;
    this.#length = place.length;
    this.logGuid = place.guid;
    writeGuid(this.#guid, 0, place.guid);
    if (place.hostRun !== undefined) {
      this.#unsyncedGuid = new Uint8Array(16);
      writeGuid(this.#unsyncedGuid, 0, unsyncedLogGuid(place.guid, place.hostRun));
      for (let index = 0; index < 16; index++) {
        this.#guidDifference[index] = (this.#guid[index] ?? 0) ^ (this.#unsyncedGuid[index] ?? 0);
      }
    }
  }

  /** The number of the newest entry; entries count from 1. */
  get lastSequence(): number {
    return this.#lastSequence;
  }

  /** Entries up to here survive a power cut. */
  get durableSequence(): number {
    return this.#durableSequence;
  }

  /** The share of the ring that cannot be written yet. */
  get fullness(): number {
    return this.#used / this.#length;
  }

  /** Whether an entry of so many sectors fits now, with room left for the empty one that frees a full ring. */
  fits(sectorCount: number): boolean {
    const reserve = sectorCount === 0 ? 0 : LOG_SECTOR;
    return this.#used + entryLength(sectorCount) + reserve < this.#length;
  }

  /**
   * Writes an entry and returns its number. When it throws, nothing has changed: the next entry takes the same place.
   * @throws HvError `io`, `no-space`
   */
  append(sectors: readonly LoggedSector[], sizes: FileSizes, isUnsynced = false): number {
    invariant(this.fits(sectors.length), 'a log entry fits before it is written');
    const length = entryLength(sectors.length);
    const sequence = this.#lastSequence + 1;
    const tailSequence = Math.min(this.#tailSequence, sequence);
    const position = this.#head;
    const tail = tailSequence === sequence ? position : this.#positionOf(tailSequence);
    const bytes = this.#encode(sectors, length, sequence, tail, sizes);

    let promotedHeader: Uint8Array | undefined;
    if (isUnsynced && this.#unsyncedGuid) {
      promotedHeader = bytes.slice(0, ENTRY_HEADER_BYTES);
      bytes.set(this.#unsyncedGuid, ENTRY_AT.logGuid);
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      const checksum = view.getUint32(ENTRY_AT.checksum, true) ^ this.#differenceFor(length);
      view.setUint32(ENTRY_AT.checksum, checksum >>> 0, true);
    }
    const beforeEnd = Math.min(length, this.#length - position);
    this.#store.write(this.#offset + position, bytes, 0, beforeEnd);
    if (beforeEnd < length) this.#store.write(this.#offset, bytes, beforeEnd, length - beforeEnd);

    if (promotedHeader) this.#unsyncedCount++;
    this.#entries.push({ sequence, position, length, tailSequence, promotedHeader });
    this.#head = (position + length) % this.#length;
    this.#used += length;
    this.#lastSequence = sequence;
    return sequence;
  }

  /**
   * Makes unsynced entries up to `sequence` count; their payload must be durable. The change itself needs a flush.
   * @returns whether there were any
   */
  promote(sequence: number): boolean {
    if (this.#unsyncedCount === 0) return false;
    let any = false;
    for (const entry of this.#entries) {
      if (entry.sequence > sequence) break;
      if (!entry.promotedHeader) continue;
      this.#store.write(this.#offset + entry.position, entry.promotedHeader, 0, ENTRY_HEADER_BYTES);
      entry.promotedHeader = undefined;
      this.#unsyncedCount--;
      any = true;
    }
    return any;
  }

  /** Entries up to `sequence` survive a power cut from now on; what the newest of them no longer needs is free. */
  noteDurable(sequence: number): void {
    if (sequence <= this.#durableSequence) return;
    this.#durableSequence = sequence;
    let needed = 0;
    for (const entry of this.#entries) {
      if (entry.sequence > sequence) break;
      needed = entry.tailSequence;
    }
    while (this.#entries[0] && this.#entries[0].sequence < needed) {
      this.#used -= this.#entries.shift()?.length ?? 0;
    }
  }

  /** Everything that entries before `sequence` carry is durable in its place: later entries need not keep them. */
  noteApplied(sequence: number): void {
    this.#tailSequence = Math.max(this.#tailSequence, sequence);
  }

  #positionOf(sequence: number): number {
    const first = this.#entries[0]?.sequence ?? 0;
    const entry = this.#entries[sequence - first];
    invariant(entry?.sequence === sequence, 'the tail of the log is an entry that it still holds');
    return entry.position;
  }

  #encode(
    sectors: readonly LoggedSector[],
    length: number,
    sequence: number,
    tail: number,
    sizes: FileSizes,
  ): Uint8Array {
    if (this.#buffer.length < length) this.#buffer = new Uint8Array(length);
    const bytes = this.#buffer.subarray(0, length);
    const view = new DataView(bytes.buffer, bytes.byteOffset, length);
    const descriptorBytes = length - sectors.length * LOG_SECTOR;
    const high = Math.floor(sequence / 2 ** 32);
    const low = sequence >>> 0;
    bytes.fill(0, 0, descriptorBytes);
    view.setUint32(ENTRY_AT.signature, ENTRY_SIGNATURE, true);
    view.setUint32(ENTRY_AT.entryLength, length, true);
    view.setUint32(ENTRY_AT.tail, tail, true);
    setUint64(view, ENTRY_AT.sequenceNumber, sequence);
    view.setUint32(ENTRY_AT.descriptorCount, sectors.length, true);
    bytes.set(this.#guid, ENTRY_AT.logGuid);
    setUint64(view, ENTRY_AT.flushedFileOffset, sizes.flushedSizeBytes);
    setUint64(view, ENTRY_AT.lastFileOffset, sizes.sizeBytes);
    for (let index = 0; index < sectors.length; index++) {
      const { fileOffset, bytes: content } = sectors[index] as LoggedSector; // index < length holds
      const at = ENTRY_HEADER_BYTES + index * DESCRIPTOR_BYTES;
      view.setUint32(at + DESCRIPTOR_AT.signature, DATA_DESCRIPTOR_SIGNATURE, true);
      setUint64(view, at + DESCRIPTOR_AT.fileOffset, fileOffset);
      setUint64(view, at + DESCRIPTOR_AT.sequenceNumber, sequence);
      const dataAt = descriptorBytes + index * LOG_SECTOR;
      bytes.set(content, dataAt);
      // The sector's first 8 and last 4 bytes move to the descriptor; signature and sequence number take their place.
      bytes.copyWithin(at + DESCRIPTOR_AT.long, dataAt, dataAt + 8);
      bytes.copyWithin(at + DESCRIPTOR_AT.word, dataAt + DATA_SECTOR_AT.sequenceLow, dataAt + LOG_SECTOR);
      view.setUint32(dataAt + DATA_SECTOR_AT.signature, DATA_SECTOR_SIGNATURE, true);
      view.setUint32(dataAt + DATA_SECTOR_AT.sequenceHigh, high, true);
      view.setUint32(dataAt + DATA_SECTOR_AT.sequenceLow, low, true);
    }
    view.setUint32(ENTRY_AT.checksum, crc32c(bytes, 0, length), true);
    return bytes;
  }

  #differenceFor(length: number): number {
    let difference = this.#checksumDifference.get(length);
    if (difference === undefined) {
      difference = crc32cOfDifference(this.#guidDifference, length - ENTRY_AT.logGuid - 16);
      this.#checksumDifference.set(length, difference);
    }
    return difference;
  }
}

function entryLength(sectorCount: number): number {
  return (
    Math.ceil((ENTRY_HEADER_BYTES + sectorCount * DESCRIPTOR_BYTES) / LOG_SECTOR) * LOG_SECTOR +
    sectorCount * LOG_SECTOR
  );
}

function setUint64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}
