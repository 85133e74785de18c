import { isPowerOfTwo, readGuid, roundDown, roundUp, writeGuid, ZERO_GUID } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import { corrupt } from './corruption.ts';
import { checksumOf, hasCookie, putText, textAt, type VhdFooter, viewOf, withChecksum } from './footer.ts';
import {
  BAT_ENTRY_BYTES,
  FORMAT_VERSION,
  HEADER_AT,
  HEADER_BYTES,
  HEADER_COOKIE,
  LOCATOR_AT,
  LOCATOR_COUNT,
  LOCATOR_ENTRY_BYTES,
  MAX_READ_BLOCK_SIZE,
  MAX_TABLE_ENTRIES,
  MIN_READ_BLOCK_SIZE,
  NO_OFFSET,
  PARENT_NAME_BYTES,
  PLATFORM,
  SECTOR,
} from './format.ts';

/** A dynamic disk header that passed every check, and what follows from it. */
export interface DynamicHeader {
  readonly fileOffset: number;
  readonly tableOffset: number;
  readonly tableEntries: number;
  readonly blockSizeBytes: number;
  /** A block's sector bitmap, padded to whole sectors. */
  readonly bitmapBytes: number;
  readonly parentUniqueId: string;
  /** Seconds since 2000. */
  readonly parentTimestamp: number;
  readonly parentName: string;
  readonly locators: readonly LocatorEntry[];
  /** As it lies in the file: fields that are not understood survive a rewrite. */
  readonly bytes: Uint8Array;
}

/** Where a parent locator lies in the file. */
export interface LocatorEntry {
  readonly platform: string;
  readonly fileOffset: number;
  /** What is kept free for it. */
  readonly spaceBytes: number;
  readonly length: number;
}

/** @throws HvError `corrupt`, `io` */
export function readDynamicHeader(store: ByteStore, footer: VhdFooter): DynamicHeader {
  const at = footer.headerOffset ?? 0;
  const { name } = store;
  const fileSize = store.size();
  if (at < SECTOR || at % SECTOR !== 0 || at + HEADER_BYTES > fileSize)
    throw corrupt(name, 'header-range', at, fileSize);
  const bytes = new Uint8Array(HEADER_BYTES);
  store.read(at, bytes, 0, HEADER_BYTES);
  const view = viewOf(bytes);
  if (!hasCookie(bytes, HEADER_COOKIE)) throw corrupt(name, 'header-signature', at, textAt(bytes, 0));
  const checksum = view.getUint32(HEADER_AT.checksum);
  if (checksum !== checksumOf(bytes, HEADER_AT.checksum)) {
    throw corrupt(name, 'header-checksum', at + HEADER_AT.checksum, checksum);
  }
  const version = view.getUint32(HEADER_AT.version);
  if (version >>> 16 !== FORMAT_VERSION >>> 16) throw corrupt(name, 'header-version', at + HEADER_AT.version, version);
  const blockSizeBytes = view.getUint32(HEADER_AT.blockSize);
  if (!isPowerOfTwo(blockSizeBytes) || blockSizeBytes < MIN_READ_BLOCK_SIZE || blockSizeBytes > MAX_READ_BLOCK_SIZE) {
    throw corrupt(name, 'block-size', at + HEADER_AT.blockSize, blockSizeBytes);
  }
  const tableEntries = view.getUint32(HEADER_AT.maxTableEntries);
  if (tableEntries === 0 || tableEntries > MAX_TABLE_ENTRIES) {
    throw corrupt(name, 'bat-count', at + HEADER_AT.maxTableEntries, tableEntries);
  }
  if (tableEntries * blockSizeBytes < footer.sizeBytes) {
    throw corrupt(name, 'bat-too-short', at + HEADER_AT.maxTableEntries, tableEntries);
  }
  const tableOffset = view.getBigUint64(HEADER_AT.tableOffset);
  const tableEnd = tableOffset + BigInt(tableEntries * BAT_ENTRY_BYTES);
  const overlapsHeader = tableOffset < BigInt(at + HEADER_BYTES) && tableEnd > BigInt(at);
  if (
    tableOffset < BigInt(SECTOR) ||
    tableOffset % BigInt(SECTOR) !== 0n ||
    tableEnd > BigInt(fileSize) ||
    overlapsHeader
  ) {
    throw corrupt(name, 'bat-range', at + HEADER_AT.tableOffset, tableOffset);
  }
  return {
    fileOffset: at,
    tableOffset: Number(tableOffset),
    tableEntries,
    blockSizeBytes,
    bitmapBytes: bitmapBytesOf(blockSizeBytes),
    parentUniqueId: readGuid(bytes, HEADER_AT.parentUniqueId),
    parentTimestamp: view.getUint32(HEADER_AT.parentTimestamp),
    parentName: decodeParentName(bytes.subarray(HEADER_AT.parentName, HEADER_AT.parentName + PARENT_NAME_BYTES)),
    locators: footer.type === 'differencing' ? readLocatorEntries(name, bytes, at, fileSize) : [],
    bytes,
  };
}

export function bitmapBytesOf(blockSizeBytes: number): number {
  return roundUp(blockSizeBytes / SECTOR / 8, SECTOR);
}

/** The bytes that a table takes, in whole sectors. */
export function tableBytesOf(tableEntries: number): number {
  return roundUp(tableEntries * BAT_ENTRY_BYTES, SECTOR);
}

function readLocatorEntries(name: string, bytes: Uint8Array, headerOffset: number, fileSize: number): LocatorEntry[] {
  const view = viewOf(bytes);
  const entries: LocatorEntry[] = [];
  for (let index = 0; index < LOCATOR_COUNT; index++) {
    const at = HEADER_AT.locators + index * LOCATOR_ENTRY_BYTES;
    const platform = textAt(bytes, at + LOCATOR_AT.platform);
    if (platform === PLATFORM.none) continue;
    const length = view.getUint32(at + LOCATOR_AT.length);
    const offset = view.getBigUint64(at + LOCATOR_AT.offset);
    if (offset + BigInt(length) > BigInt(fileSize) || offset < BigInt(SECTOR)) {
      throw corrupt(name, 'locator-range', headerOffset + at, offset);
    }
    // The specification counts sectors here; Windows and others write bytes.
    const said = view.getUint32(at + LOCATOR_AT.space);
    const reserved = Math.min(said < SECTOR ? said * SECTOR : said, fileSize - Number(offset));
    const spaceBytes = Math.max(roundUp(length, SECTOR), roundDown(reserved, SECTOR));
    entries.push({ platform, fileOffset: Number(offset), spaceBytes, length });
  }
  return entries;
}

export interface NewDynamicHeader {
  readonly tableOffset: number;
  readonly tableEntries: number;
  readonly blockSizeBytes: number;
}

/** The header of a new file, without a parent. */
export function encodeDynamicHeader(header: NewDynamicHeader): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = viewOf(bytes);
  putText(bytes, HEADER_AT.cookie, HEADER_COOKIE);
  view.setBigUint64(HEADER_AT.dataOffset, NO_OFFSET);
  view.setBigUint64(HEADER_AT.tableOffset, BigInt(header.tableOffset));
  view.setUint32(HEADER_AT.version, FORMAT_VERSION);
  view.setUint32(HEADER_AT.maxTableEntries, header.tableEntries);
  view.setUint32(HEADER_AT.blockSize, header.blockSizeBytes);
  return withChecksum(bytes, HEADER_AT.checksum);
}

export interface ParentFields {
  readonly uniqueId: string;
  readonly timestamp: number;
  readonly name: string;
  readonly locators: readonly LocatorEntry[];
}

/** The same header for another parent. @throws HvError `invalid-argument` when there are more locators than fit */
export function withParent(bytes: Uint8Array, parent: ParentFields): Uint8Array {
  if (parent.locators.length > LOCATOR_COUNT) {
    throw new HvError('invalid-argument', `a VHD holds at most ${LOCATOR_COUNT} parent locators`);
  }
  const changed = Uint8Array.from(bytes);
  const view = viewOf(changed);
  writeGuid(changed, HEADER_AT.parentUniqueId, parent.uniqueId);
  view.setUint32(HEADER_AT.parentTimestamp, parent.timestamp);
  changed.set(encodeParentName(parent.name), HEADER_AT.parentName);
  changed.fill(0, HEADER_AT.locators, HEADER_AT.locators + LOCATOR_COUNT * LOCATOR_ENTRY_BYTES);
  parent.locators.forEach((entry, index) => {
    const at = HEADER_AT.locators + index * LOCATOR_ENTRY_BYTES;
    putText(changed, at + LOCATOR_AT.platform, entry.platform);
    view.setUint32(at + LOCATOR_AT.space, entry.spaceBytes);
    view.setUint32(at + LOCATOR_AT.length, entry.length);
    view.setBigUint64(at + LOCATOR_AT.offset, BigInt(entry.fileOffset));
  });
  return withChecksum(changed, HEADER_AT.checksum);
}

/** The same header for a table of another length. */
export function withTableEntries(bytes: Uint8Array, tableEntries: number): Uint8Array {
  const changed = Uint8Array.from(bytes);
  viewOf(changed).setUint32(HEADER_AT.maxTableEntries, tableEntries);
  return withChecksum(changed, HEADER_AT.checksum);
}

export function hasParentFields({ parentUniqueId }: DynamicHeader): boolean {
  return parentUniqueId !== ZERO_GUID;
}

function decodeParentName(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).swap16().toString('utf16le');
  const end = text.indexOf('\0');
  return end === -1 ? text : text.slice(0, end);
}

/** UTF-16 of the other byte order than everything else in Windows' files; what is too long is cut off. */
function encodeParentName(name: string): Uint8Array {
  const bytes = Buffer.alloc(PARENT_NAME_BYTES);
  bytes.write(name.slice(0, PARENT_NAME_BYTES / 2 - 1), 'utf16le');
  return bytes.swap16();
}
