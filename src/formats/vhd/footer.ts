import { readGuid, writeGuid } from '../../binary/index.ts';
import type { ByteStore } from '../../store/index.ts';
import type { DiskType } from '../disk-image.ts';
import { corrupt } from './corruption.ts';
import {
  CREATOR_APPLICATION,
  CREATOR_HOST,
  CREATOR_VERSION,
  CREATORS_BY_GEOMETRY,
  DISK_TYPE,
  EPOCH_SECONDS,
  FEATURE_RESERVED,
  FOOTER_AT,
  FOOTER_BYTES,
  FOOTER_COOKIE,
  FORMAT_VERSION,
  type Geometry,
  MAX_VIRTUAL_SIZE,
  NO_OFFSET,
  SECTOR,
  SHORT_FOOTER_BYTES,
} from './format.ts';
import { geometryBytes, geometryOf, isLargestGeometry } from './geometry.ts';

/** A footer that passed every check that needs no other structure. */
export interface VhdFooter {
  readonly type: DiskType;
  /** The disk's size: by the size field, or by the geometry where the creator means that. */
  readonly sizeBytes: number;
  readonly currentSizeBytes: number;
  readonly geometry: Geometry;
  readonly creatorApplication: string;
  /** Where the dynamic header lies; undefined for a fixed disk. */
  readonly headerOffset: number | undefined;
  readonly uniqueId: string;
  /** Seconds since 2000. */
  readonly timestamp: number;
  /** As it lies in the file: fields that are not understood survive a rewrite. */
  readonly bytes: Uint8Array;
}

/** The footers of a file: where each may lie, its bytes where they are valid. */
export interface FoundFooters {
  readonly leading: Uint8Array | undefined;
  readonly trailing: Uint8Array | undefined;
  /** Where the trailing one begins, or would begin. */
  readonly trailingOffset: number;
}

/** One's complement of the sum of all bytes, the checksum's own taken as zero. */
export function checksumOf(bytes: Uint8Array, checksumOffset: number): number {
  let sum = 0;
  for (const byte of bytes) sum += byte;
  for (let at = checksumOffset; at < checksumOffset + 4; at++) sum -= bytes[at] ?? 0;
  return ~sum >>> 0;
}

export function hasCookie(bytes: Uint8Array, cookie: string): boolean {
  return Buffer.from(bytes.buffer, bytes.byteOffset, cookie.length).toString('latin1') === cookie;
}

/** Whether these bytes are a footer with its checksum right. */
export function isFooter(bytes: Uint8Array): boolean {
  return (
    hasCookie(bytes, FOOTER_COOKIE) &&
    viewOf(bytes).getUint32(FOOTER_AT.checksum) === checksumOf(bytes, FOOTER_AT.checksum)
  );
}

/** Looks for footers at both ends of the file. */
export function findFooters(store: ByteStore): FoundFooters {
  const size = store.size();
  const valid = (at: number, length: number): Uint8Array | undefined => {
    if (at < 0 || at + length > size) return undefined;
    const bytes = new Uint8Array(FOOTER_BYTES);
    store.read(at, bytes, 0, length);
    return isFooter(bytes) ? bytes : undefined;
  };
  const leading = valid(0, FOOTER_BYTES);
  const trailing = valid(size - FOOTER_BYTES, FOOTER_BYTES);
  if (trailing) return { leading, trailing, trailingOffset: size - FOOTER_BYTES };
  const short = valid(size - SHORT_FOOTER_BYTES, SHORT_FOOTER_BYTES);
  if (short) return { leading, trailing: short, trailingOffset: size - SHORT_FOOTER_BYTES };
  return { leading, trailing: undefined, trailingOffset: size - FOOTER_BYTES };
}

/** Tells whether a file is a VHD, by either footer. */
export function hasVhdSignature(store: ByteStore): boolean {
  const { leading, trailing } = findFooters(store);
  return leading !== undefined || trailing !== undefined;
}

/**
 * The footer that counts: the trailing one where it is valid, else the copy. A leading footer of a fixed disk is a
 * guest's data, not a copy.
 * @throws HvError `corrupt`
 */
export function readFooter(store: ByteStore): VhdFooter {
  const { leading, trailing, trailingOffset } = findFooters(store);
  if (trailing) return parseFooter(store.name, trailing, trailingOffset);
  if (leading && viewOf(leading).getUint32(FOOTER_AT.diskType) !== DISK_TYPE.fixed) {
    return parseFooter(store.name, leading, 0);
  }
  throw corrupt(store.name, 'no-footer', Math.max(0, trailingOffset), store.size());
}

/** @throws HvError `corrupt` */
export function parseFooter(name: string, bytes: Uint8Array, fileOffset: number): VhdFooter {
  const view = viewOf(bytes);
  const version = view.getUint32(FOOTER_AT.version);
  if (version >>> 16 !== FORMAT_VERSION >>> 16)
    throw corrupt(name, 'footer-version', fileOffset + FOOTER_AT.version, version);
  const typeNumber = view.getUint32(FOOTER_AT.diskType);
  const type = (Object.keys(DISK_TYPE) as DiskType[]).find((key) => DISK_TYPE[key] === typeNumber);
  if (!type) throw corrupt(name, 'disk-type', fileOffset + FOOTER_AT.diskType, typeNumber);
  const currentSize = view.getBigUint64(FOOTER_AT.currentSize);
  if (currentSize === 0n || currentSize > BigInt(MAX_VIRTUAL_SIZE) || currentSize % BigInt(SECTOR) !== 0n) {
    throw corrupt(name, 'disk-size', fileOffset + FOOTER_AT.currentSize, currentSize);
  }
  const dataOffset = view.getBigUint64(FOOTER_AT.dataOffset);
  if (type !== 'fixed' && dataOffset > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw corrupt(name, 'header-range', fileOffset + FOOTER_AT.dataOffset, dataOffset);
  }
  const geometry = {
    cylinders: view.getUint16(FOOTER_AT.cylinders),
    heads: view.getUint8(FOOTER_AT.heads),
    sectorsPerTrack: view.getUint8(FOOTER_AT.sectorsPerTrack),
  };
  const creatorApplication = textAt(bytes, FOOTER_AT.creatorApplication);
  const currentSizeBytes = Number(currentSize);
  return {
    type,
    sizeBytes: sizeOf(currentSizeBytes, geometry, creatorApplication),
    currentSizeBytes,
    geometry,
    creatorApplication,
    headerOffset: type === 'fixed' ? undefined : Number(dataOffset),
    uniqueId: readGuid(bytes, FOOTER_AT.uniqueId),
    timestamp: view.getUint32(FOOTER_AT.timestamp),
    bytes: Uint8Array.from(bytes),
  };
}

/** A geometry never makes a disk larger than its size field: what lies behind might not be the disk's. */
function sizeOf(currentSizeBytes: number, geometry: Geometry, creator: string): number {
  const byGeometry = geometryBytes(geometry);
  const isMeant = CREATORS_BY_GEOMETRY.includes(creator) && byGeometry > 0 && !isLargestGeometry(geometry);
  return isMeant ? Math.min(byGeometry, currentSizeBytes) : currentSizeBytes;
}

export interface NewFooter {
  readonly type: DiskType;
  readonly sizeBytes: number;
  readonly uniqueId: string;
  readonly headerOffset: number | undefined;
  /** Default: now. */
  readonly timestamp?: number | undefined;
}

/** The footer of a new file. */
export function encodeFooter(footer: NewFooter): Uint8Array {
  const bytes = new Uint8Array(FOOTER_BYTES);
  const view = viewOf(bytes);
  putText(bytes, FOOTER_AT.cookie, FOOTER_COOKIE);
  view.setUint32(FOOTER_AT.features, FEATURE_RESERVED);
  view.setUint32(FOOTER_AT.version, FORMAT_VERSION);
  view.setBigUint64(FOOTER_AT.dataOffset, footer.headerOffset === undefined ? NO_OFFSET : BigInt(footer.headerOffset));
  view.setUint32(FOOTER_AT.timestamp, footer.timestamp ?? secondsSince2000(Date.now()));
  putText(bytes, FOOTER_AT.creatorApplication, CREATOR_APPLICATION);
  view.setUint32(FOOTER_AT.creatorVersion, CREATOR_VERSION);
  putText(bytes, FOOTER_AT.creatorHost, CREATOR_HOST);
  view.setBigUint64(FOOTER_AT.originalSize, BigInt(footer.sizeBytes));
  view.setUint32(FOOTER_AT.diskType, DISK_TYPE[footer.type]);
  writeGuid(bytes, FOOTER_AT.uniqueId, footer.uniqueId);
  return withSize(bytes, footer.sizeBytes);
}

/** A footer for another size of the disk; everything else stays. */
export function withSize(bytes: Uint8Array, sizeBytes: number): Uint8Array {
  const changed = Uint8Array.from(bytes);
  const view = viewOf(changed);
  const { cylinders, heads, sectorsPerTrack } = geometryOf(sizeBytes);
  // Who counts by geometry would lose the end of such a disk: the size field is to count from now on.
  if (CREATORS_BY_GEOMETRY.includes(textAt(bytes, FOOTER_AT.creatorApplication))) {
    putText(changed, FOOTER_AT.creatorApplication, CREATOR_APPLICATION);
  }
  view.setBigUint64(FOOTER_AT.currentSize, BigInt(sizeBytes));
  view.setUint16(FOOTER_AT.cylinders, cylinders);
  view.setUint8(FOOTER_AT.heads, heads);
  view.setUint8(FOOTER_AT.sectorsPerTrack, sectorsPerTrack);
  return withChecksum(changed, FOOTER_AT.checksum);
}

export function withUniqueId(bytes: Uint8Array, uniqueId: string): Uint8Array {
  const changed = Uint8Array.from(bytes);
  writeGuid(changed, FOOTER_AT.uniqueId, uniqueId);
  return withChecksum(changed, FOOTER_AT.checksum);
}

/** Puts the right checksum into a structure, in place. */
export function withChecksum(bytes: Uint8Array, checksumOffset: number): Uint8Array {
  viewOf(bytes).setUint32(checksumOffset, checksumOf(bytes, checksumOffset));
  return bytes;
}

export function secondsSince2000(unixMs: number): number {
  return Math.min(0xffffffff, Math.max(0, Math.floor(unixMs / 1000) - EPOCH_SECONDS));
}

export function textAt(bytes: Uint8Array, at: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + at, 4).toString('latin1');
}

export function putText(bytes: Uint8Array, at: number, text: string): void {
  bytes.set(Buffer.from(text, 'latin1'), at);
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
