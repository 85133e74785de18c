import { crc32c, isPowerOfTwo, readGuid, safeNumber, writeGuid } from '../../binary/index.ts';
import type { ByteStore } from '../../store/index.ts';
import { corrupt } from './corruption.ts';
import {
  HEADER_AT,
  HEADER_FLAG,
  HEADER_OFFSETS,
  MAX_HEADER_BYTES,
  MAX_REFERENCES,
  MAX_REGIONS,
  MAX_SEQUENCE,
  MAX_UNITS,
  type RctHeader,
  REFERENCE_AT,
  REFERENCE_BYTES,
  type ReferencePoint,
  SIGNATURE,
  VERSION,
} from './format.ts';
import { mapEnd } from './geometry.ts';

/** The two header copies: the newest whole one counts, and the other is written next. */
export class HeaderCopies {
  readonly #store: ByteStore;
  #header: RctHeader;
  #copy: 0 | 1;

  private constructor(store: ByteStore, header: RctHeader, copy: 0 | 1) {
    this.#store = store;
    this.#header = header;
    this.#copy = copy;
  }

  get header(): RctHeader {
    return this.#header;
  }

  /** Writes the first copy of a new file; a flush must follow. */
  static create(store: ByteStore, header: RctHeader): HeaderCopies {
    const bytes = encodeHeader(header);
    store.write(HEADER_OFFSETS[0], bytes, 0, bytes.length);
    return new HeaderCopies(store, header, 0);
  }

  /** @throws HvError `corrupt`, `io` */
  static read(store: ByteStore): HeaderCopies {
    const bytes = [readCopy(store, 0), readCopy(store, 1)] as const;
    const first = parseHeader(bytes[0], store.name, 0);
    const second = parseHeader(bytes[1], store.name, 1);
    const copy = first && (!second || first.generation >= second.generation) ? 0 : 1;
    const header = copy === 0 ? first : second;
    if (!header) {
      const isOurs = bytes.some(hasSignature);
      throw corrupt(store.name, isOurs ? 'rct-no-valid-header' : 'rct-signature', 0, '');
    }
    const needed = mapEnd(header);
    if (store.size() < needed) throw corrupt(store.name, 'rct-file-size', store.size(), needed);
    return new HeaderCopies(store, header, copy);
  }

  /** Writes the older copy, which counts from then on; a flush must follow before anything relies on it. */
  write(change: Partial<RctHeader>): void {
    const next = { ...this.#header, ...change, generation: this.#header.generation + 1n };
    const copy = this.#copy === 0 ? 1 : 0;
    const bytes = encodeHeader(next);
    this.#store.write(HEADER_OFFSETS[copy], bytes, 0, bytes.length);
    this.#header = next;
    this.#copy = copy;
  }
}

/** The bytes of a header, its checksum included. */
export function encodeHeader(header: RctHeader): Uint8Array {
  const { references } = header;
  const bytes = new Uint8Array(HEADER_AT.references + references.length * REFERENCE_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(Buffer.from(SIGNATURE, 'latin1'), HEADER_AT.signature);
  view.setUint32(HEADER_AT.headerLength, bytes.length, true);
  view.setUint32(HEADER_AT.version, VERSION, true);
  view.setUint32(HEADER_AT.flags, header.restartedTimeMs > 0 ? HEADER_FLAG.restarted : 0, true);
  view.setBigUint64(HEADER_AT.generation, header.generation, true);
  writeGuid(bytes, HEADER_AT.fileWriteGuid, header.fileWriteGuid);
  writeGuid(bytes, HEADER_AT.nextFileWriteGuid, header.nextFileWriteGuid);
  view.setBigUint64(HEADER_AT.diskHeaderSequence, header.diskHeaderSequence, true);
  view.setBigUint64(HEADER_AT.sizeBytes, BigInt(header.sizeBytes), true);
  view.setBigUint64(HEADER_AT.unitBytes, BigInt(header.unitBytes), true);
  view.setBigUint64(HEADER_AT.regionBytes, BigInt(header.regionBytes), true);
  view.setUint32(HEADER_AT.activeSequence, header.activeSequence, true);
  view.setUint32(HEADER_AT.lastChangeSequence, header.lastChangeSequence, true);
  view.setUint32(HEADER_AT.referenceCount, references.length, true);
  view.setBigUint64(HEADER_AT.restartedTimeMs, BigInt(header.restartedTimeMs), true);
  references.forEach((reference, index) => {
    const at = HEADER_AT.references + index * REFERENCE_BYTES;
    writeGuid(bytes, at + REFERENCE_AT.branch, reference.branch);
    view.setUint32(at + REFERENCE_AT.counter, reference.counter, true);
    view.setUint32(at + REFERENCE_AT.sequence, reference.sequence, true);
    view.setBigUint64(at + REFERENCE_AT.timeMs, BigInt(reference.timeMs), true);
  });
  view.setUint32(HEADER_AT.checksum, checksumOf(bytes), true);
  return bytes;
}

function readCopy(store: ByteStore, copy: 0 | 1): Uint8Array {
  const bytes = new Uint8Array(MAX_HEADER_BYTES);
  store.read(HEADER_OFFSETS[copy], bytes, 0, bytes.length);
  return bytes;
}

function hasSignature(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.subarray(0, SIGNATURE.length)).toString('latin1') === SIGNATURE;
}

function checksumOf(bytes: Uint8Array): number {
  const before = crc32c(bytes, 0, HEADER_AT.checksum);
  const zeroed = crc32c(new Uint8Array(4), 0, 4, before);
  return crc32c(bytes, HEADER_AT.checksum + 4, bytes.length, zeroed);
}

/** A copy that is whole, or undefined for one that was never written or only in part. @throws HvError `corrupt` */
function parseHeader(bytes: Uint8Array, name: string, copy: 0 | 1): RctHeader | undefined {
  if (!hasSignature(bytes)) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(HEADER_AT.headerLength, true);
  if (length < HEADER_AT.references || length > MAX_HEADER_BYTES) return undefined;
  if (checksumOf(bytes.subarray(0, length)) !== view.getUint32(HEADER_AT.checksum, true)) return undefined;
  const at = HEADER_OFFSETS[copy];
  const version = view.getUint32(HEADER_AT.version, true);
  if (version !== VERSION) throw corrupt(name, 'rct-version', at + HEADER_AT.version, version);
  const number = (offset: number): number => safeNumber(view.getBigUint64(offset, true)) ?? Number.NaN;
  const sizeBytes = number(HEADER_AT.sizeBytes);
  const unitBytes = number(HEADER_AT.unitBytes);
  const regionBytes = number(HEADER_AT.regionBytes);
  const activeSequence = view.getUint32(HEADER_AT.activeSequence, true);
  const isPossible =
    sizeBytes > 0 &&
    isPowerOfTwo(unitBytes) &&
    isPowerOfTwo(regionBytes) &&
    regionBytes % unitBytes === 0 &&
    sizeBytes / unitBytes <= MAX_UNITS &&
    sizeBytes / regionBytes <= MAX_REGIONS &&
    activeSequence > 0 &&
    activeSequence <= MAX_SEQUENCE;
  if (!isPossible) {
    const value = `${sizeBytes}/${unitBytes}/${regionBytes}/${activeSequence}`;
    throw corrupt(name, 'rct-geometry', at + HEADER_AT.sizeBytes, value);
  }
  const count = view.getUint32(HEADER_AT.referenceCount, true);
  if (count > MAX_REFERENCES || HEADER_AT.references + count * REFERENCE_BYTES !== length) {
    throw corrupt(name, 'rct-references', at + HEADER_AT.referenceCount, count);
  }
  const references: ReferencePoint[] = [];
  for (let index = 0; index < count; index++) {
    const offset = HEADER_AT.references + index * REFERENCE_BYTES;
    const sequence = view.getUint32(offset + REFERENCE_AT.sequence, true);
    const timeMs = number(offset + REFERENCE_AT.timeMs);
    const before = references.at(-1)?.sequence ?? 0;
    if (sequence < before || sequence >= activeSequence || Number.isNaN(timeMs)) {
      throw corrupt(name, 'rct-references', at + offset, sequence);
    }
    const counter = view.getUint32(offset + REFERENCE_AT.counter, true);
    references.push({ branch: readGuid(bytes, offset + REFERENCE_AT.branch), counter, sequence, timeMs });
  }
  return {
    generation: view.getBigUint64(HEADER_AT.generation, true),
    fileWriteGuid: readGuid(bytes, HEADER_AT.fileWriteGuid),
    nextFileWriteGuid: readGuid(bytes, HEADER_AT.nextFileWriteGuid),
    diskHeaderSequence: view.getBigUint64(HEADER_AT.diskHeaderSequence, true),
    sizeBytes,
    unitBytes,
    regionBytes,
    activeSequence,
    lastChangeSequence: view.getUint32(HEADER_AT.lastChangeSequence, true),
    restartedTimeMs: number(HEADER_AT.restartedTimeMs) || 0,
    references,
  };
}
