import { crc32c, readGuid, safeNumber, writeGuid, ZERO_GUID } from '../../binary/index.ts';
import type { ByteStore } from '../../store/index.ts';
import { corrupt } from './corruption.ts';
import {
  FILE_SIGNATURE,
  FIRST_OBJECT_OFFSET,
  FORMAT_VERSION,
  HEADER_AT,
  HEADER_BYTES,
  HEADER_OFFSETS,
  HEADER_SIGNATURE,
  LOG_VERSION,
  MIB,
  type VhdxHeader,
} from './format.ts';

export interface CurrentHeader {
  readonly header: VhdxHeader;
  /** Which of the two copies it is; the other is written next. */
  readonly copy: 0 | 1;
}

/** Tells whether the store begins as a VHDX file does. */
export function hasVhdxSignature(store: ByteStore): boolean {
  const bytes = new Uint8Array(FILE_SIGNATURE.length);
  store.read(0, bytes, 0, bytes.length);
  return Buffer.from(bytes).toString('latin1') === FILE_SIGNATURE;
}

/** Reads both headers and returns the current one (2.2.2). @throws HvError `corrupt` */
export function readCurrentHeader(store: ByteStore): CurrentHeader {
  if (!hasVhdxSignature(store)) throw corrupt(store.name, 'file-signature', 0, '');
  const bytes = [readCopy(store, 0), readCopy(store, 1)] as const;
  const first = parseHeader(bytes[0]);
  const second = parseHeader(bytes[1]);
  if (!first && !second) throw corrupt(store.name, 'no-valid-header', HEADER_OFFSETS[0], 0);
  if (first && second && first.sequenceNumber === second.sequenceNumber && Buffer.compare(bytes[0], bytes[1]) !== 0) {
    throw corrupt(store.name, 'headers-contradict', HEADER_OFFSETS[1], second.sequenceNumber);
  }
  const copy = first && (!second || first.sequenceNumber >= second.sequenceNumber) ? 0 : 1;
  const header = copy === 0 ? first : second;
  if (!header) throw corrupt(store.name, 'no-valid-header', HEADER_OFFSETS[0], 0);
  validate(store.name, header, HEADER_OFFSETS[copy]);
  return { header, copy };
}

/** The 4 KiB of a header, its checksum included. */
export function encodeHeader(header: VhdxHeader): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(HEADER_AT.signature, HEADER_SIGNATURE, true);
  view.setBigUint64(HEADER_AT.sequenceNumber, header.sequenceNumber, true);
  writeGuid(bytes, HEADER_AT.fileWriteGuid, header.fileWriteGuid);
  writeGuid(bytes, HEADER_AT.dataWriteGuid, header.dataWriteGuid);
  writeGuid(bytes, HEADER_AT.logGuid, header.logGuid);
  view.setUint16(HEADER_AT.logVersion, header.logVersion, true);
  view.setUint16(HEADER_AT.version, header.version, true);
  view.setUint32(HEADER_AT.logLength, header.logLength, true);
  view.setBigUint64(HEADER_AT.logOffset, BigInt(header.logOffset), true);
  view.setUint32(HEADER_AT.checksum, crc32c(bytes), true);
  return bytes;
}

/** The 4 KiB of one of the two headers. */
export function readCopy(store: ByteStore, copy: 0 | 1): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  store.read(HEADER_OFFSETS[copy], bytes, 0, HEADER_BYTES);
  return bytes;
}

/** A header whose signature and checksum hold; its fields are not judged yet. */
export function parseHeader(bytes: Uint8Array): VhdxHeader | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  if (view.getUint32(HEADER_AT.signature, true) !== HEADER_SIGNATURE) return undefined;
  if (!hasValidChecksum(bytes, HEADER_AT.checksum)) return undefined;
  return {
    sequenceNumber: view.getBigUint64(HEADER_AT.sequenceNumber, true),
    fileWriteGuid: readGuid(bytes, HEADER_AT.fileWriteGuid),
    dataWriteGuid: readGuid(bytes, HEADER_AT.dataWriteGuid),
    logGuid: readGuid(bytes, HEADER_AT.logGuid),
    logVersion: view.getUint16(HEADER_AT.logVersion, true),
    version: view.getUint16(HEADER_AT.version, true),
    logLength: view.getUint32(HEADER_AT.logLength, true),
    logOffset: safeNumber(view.getBigUint64(HEADER_AT.logOffset, true)) ?? Number.NaN,
  };
}

/** Compares a structure's CRC-32C, computed with its own field as zero. */
export function hasValidChecksum(bytes: Uint8Array, checksumAt: number): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const before = crc32c(bytes, 0, checksumAt);
  const zeroed = crc32c(new Uint8Array(4), 0, 4, before);
  return crc32c(bytes, checksumAt + 4, bytes.length, zeroed) === view.getUint32(checksumAt, true);
}

function validate(name: string, header: VhdxHeader, at: number): void {
  if (header.version !== FORMAT_VERSION) throw corrupt(name, 'header-version', at + HEADER_AT.version, header.version);
  if (header.logVersion !== LOG_VERSION && header.logGuid !== ZERO_GUID) {
    throw corrupt(name, 'log-version', at + HEADER_AT.logVersion, header.logVersion);
  }
  const { logOffset, logLength } = header;
  if (!(logOffset >= FIRST_OBJECT_OFFSET) || logOffset % MIB !== 0 || logLength < MIB || logLength % MIB !== 0) {
    throw corrupt(name, 'log-range', at + HEADER_AT.logLength, `${logOffset}+${logLength}`);
  }
}
