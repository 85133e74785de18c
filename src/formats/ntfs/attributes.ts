import { decodeUtf16le, safeNumber } from '../../binary/index.ts';
import { corrupt } from './corruption.ts';
import { ATTRIBUTE, ATTRIBUTE_AT, RECORD_AT } from './format.ts';
import { decodeRuns, type Run } from './runs.ts';

/** A part of a file: in its record, or in clusters elsewhere. */
export type Attribute = {
  readonly type: number;
  readonly name: string;
  readonly flags: number;
} & (
  | { readonly value: Uint8Array; readonly lowestVcn?: undefined }
  | {
      readonly value?: undefined;
      /** The first of its clusters that this piece speaks of. */
      readonly lowestVcn: number;
      readonly runs: readonly Run[];
      /** Of the first piece: the length, and how much of it was ever written. */
      readonly sizeBytes: number;
      readonly initializedBytes: number;
    }
);

const RESIDENT_BYTES = 0x18;
const NON_RESIDENT_BYTES = 0x40;

/** Reads the attributes of a record. @param clusters of the volume, which no run leaves @throws HvError `corrupt` */
export function readAttributes(record: Uint8Array, offset: number, clusters: number): Attribute[] {
  const view = new DataView(record.buffer, record.byteOffset, record.length);
  const used = view.getUint32(RECORD_AT.usedBytes, true);
  if (used > record.length) throw corrupt('attribute-bounds', offset + RECORD_AT.usedBytes, used);
  const found: Attribute[] = [];
  let at = view.getUint16(RECORD_AT.firstAttribute, true);
  for (;;) {
    if (at % 8 !== 0 || at + 8 > used) throw corrupt('attribute-bounds', offset + at, used);
    const type = view.getUint32(at + ATTRIBUTE_AT.type, true);
    if (type === ATTRIBUTE.end) return found;
    const length = view.getUint32(at + ATTRIBUTE_AT.length, true);
    if (length < RESIDENT_BYTES || length % 8 !== 0 || at + length > used) {
      throw corrupt('attribute-bounds', offset + at, length);
    }
    found.push(readAttribute(record.subarray(at, at + length), offset + at, type, clusters));
    at += length;
  }
}

function readAttribute(bytes: Uint8Array, offset: number, type: number, clusters: number): Attribute {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const nameLength = view.getUint8(ATTRIBUTE_AT.nameLength);
  const nameOffset = view.getUint16(ATTRIBUTE_AT.nameOffset, true);
  if (nameLength > 0 && nameOffset + nameLength * 2 > bytes.length) {
    throw corrupt('attribute-bounds', offset + ATTRIBUTE_AT.nameOffset, nameOffset);
  }
  const name = nameLength === 0 ? '' : decodeUtf16le(bytes.subarray(nameOffset, nameOffset + nameLength * 2));
  const flags = view.getUint16(ATTRIBUTE_AT.flags, true);
  if (view.getUint8(ATTRIBUTE_AT.isNonResident) === 0) {
    const length = view.getUint32(ATTRIBUTE_AT.valueLength, true);
    const start = view.getUint16(ATTRIBUTE_AT.valueOffset, true);
    if (start + length > bytes.length) throw corrupt('attribute-bounds', offset + ATTRIBUTE_AT.valueOffset, length);
    return { type, name, flags, value: bytes.slice(start, start + length) };
  }
  if (bytes.length < NON_RESIDENT_BYTES) throw corrupt('attribute-bounds', offset, bytes.length);
  const number = (at: number): number => {
    const value = view.getBigUint64(at, true);
    const safe = safeNumber(value);
    if (safe === undefined) throw corrupt('attribute-bounds', offset + at, value);
    return safe;
  };
  const runsOffset = view.getUint16(ATTRIBUTE_AT.runsOffset, true);
  if (runsOffset < NON_RESIDENT_BYTES || runsOffset > bytes.length) {
    throw corrupt('attribute-bounds', offset + ATTRIBUTE_AT.runsOffset, runsOffset);
  }
  const lowestVcn = number(ATTRIBUTE_AT.lowestVcn);
  const isFirst = lowestVcn === 0;
  return {
    type,
    name,
    flags,
    lowestVcn,
    runs: decodeRuns(bytes.subarray(runsOffset), offset + runsOffset, clusters),
    sizeBytes: isFirst ? number(ATTRIBUTE_AT.dataSize) : 0,
    initializedBytes: isFirst ? number(ATTRIBUTE_AT.initializedSize) : 0,
  };
}
