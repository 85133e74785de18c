import { encodeUtf16le, isPowerOfTwo, randomGuid, roundUp, writeGuid, ZERO_GUID } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import type { DiskType } from '../disk-image.ts';
import { tableGeometry } from './block-table.ts';
import {
  BAT_ENTRY_BYTES,
  BAT_REGION,
  CREATOR_BYTES,
  CREATOR_OFFSET,
  FILE_PARAMETER_FLAG,
  FILE_SIGNATURE,
  FORMAT_VERSION,
  HEADER_BYTES,
  HEADER_OFFSETS,
  ITEM,
  LOG_VERSION,
  MAX_BLOCK_SIZE,
  MAX_VIRTUAL_SIZE,
  METADATA_REGION,
  METADATA_TABLE_BYTES,
  type MetadataItem,
  MIB,
  MIN_BLOCK_SIZE,
  NEW_FILE,
  PAYLOAD,
  REGION_TABLE_BYTES,
  REGION_TABLE_OFFSETS,
  type VhdxHeader,
} from './format.ts';
import { encodeHeader } from './header.ts';
import { encodeLocator } from './locator.ts';
import { encodeMetadataTable } from './metadata.ts';
import { encodeRegionTable } from './regions.ts';

/** Windows makes no smaller VHDX. */
export const MIN_VIRTUAL_SIZE = 3 * MIB;
/** Reserved at once, so that metadata writes cannot run out of space; a larger table stays sparse. */
const MAX_RESERVED_BYTES = 16 * MIB;
const CREATOR = 'hv';

export interface NewVhdx {
  readonly type: DiskType;
  readonly virtualSizeBytes: number;
  readonly blockSizeBytes?: number | undefined;
  readonly logicalSectorSizeBytes?: number | undefined;
  readonly physicalSectorSizeBytes?: number | undefined;
  /** Default: random; a child has its parent's, as it is the same disk. */
  readonly virtualDiskId?: string | undefined;
  /** For a differencing disk: the pairs of its locator. */
  readonly locator?: readonly (readonly [string, string])[] | undefined;
  /** Items that a child inherits from its parent (those marked as the disk's own). */
  readonly inheritedItems?: readonly { readonly item: MetadataItem; readonly bytes: Uint8Array }[] | undefined;
}

/** Refuses sizes that the format does not have. @throws HvError `invalid-argument` */
export function validateNewVhdx(spec: NewVhdx): void {
  const refuse = (what: string, value: number): never => {
    throw new HvError('invalid-argument', `${what}; ${value} is not`, { detail: { value } });
  };
  const logical = spec.logicalSectorSizeBytes ?? NEW_FILE.logicalSectorSize;
  const physical = spec.physicalSectorSizeBytes ?? NEW_FILE.physicalSectorSize;
  const block = spec.blockSizeBytes ?? defaultBlockSize(spec.type);
  if (logical !== 512 && logical !== 4096) refuse('the logical sector size must be 512 or 4096 bytes', logical);
  if (physical !== 512 && physical !== 4096) refuse('the physical sector size must be 512 or 4096 bytes', physical);
  if (!isPowerOfTwo(block) || block < MIN_BLOCK_SIZE || block > MAX_BLOCK_SIZE) {
    refuse('the block size must be a power of two from 1 MiB to 256 MiB', block);
  }
  const size = spec.virtualSizeBytes;
  if (!Number.isSafeInteger(size) || size < MIN_VIRTUAL_SIZE || size > MAX_VIRTUAL_SIZE) {
    refuse('the size of a VHDX must be from 3 MiB to 64 TiB', size);
  }
  if (size % logical !== 0) refuse(`the size of this disk must be a multiple of ${logical} bytes`, size);
}

/**
 * Writes a new, empty disk into an empty store, laid out as Windows does. The headers come last: a file whose making
 * was interrupted is no VHDX. The caller flushes.
 * @throws HvError `invalid-argument`, `no-space`, `io`
 */
export function createVhdx(store: ByteStore, spec: NewVhdx): void {
  validateNewVhdx(spec);
  const disk = {
    virtualSizeBytes: spec.virtualSizeBytes,
    blockSizeBytes: spec.blockSizeBytes ?? defaultBlockSize(spec.type),
    logicalSectorSizeBytes: spec.logicalSectorSizeBytes ?? NEW_FILE.logicalSectorSize,
    hasParent: spec.type === 'differencing',
  };
  const geometry = tableGeometry(disk);
  const batLength = roundUp(geometry.entryCount * BAT_ENTRY_BYTES, MIB);
  const batEnd = NEW_FILE.batOffset + batLength;
  store.setSize(batEnd);
  store.allocate(NEW_FILE.logOffset, Math.min(batEnd, MAX_RESERVED_BYTES) - NEW_FILE.logOffset);

  const identifier = new Uint8Array(CREATOR_OFFSET + CREATOR_BYTES);
  identifier.set(Buffer.from(FILE_SIGNATURE, 'latin1'));
  identifier.set(encodeUtf16le(CREATOR), CREATOR_OFFSET);
  store.write(0, identifier, 0, identifier.length);

  const regionTable = encodeRegionTable([
    { guid: BAT_REGION, fileOffset: NEW_FILE.batOffset, length: batLength, required: true },
    { guid: METADATA_REGION, fileOffset: NEW_FILE.metadataOffset, length: NEW_FILE.metadataLength, required: true },
  ]);
  for (const at of REGION_TABLE_OFFSETS) store.write(at, regionTable, 0, REGION_TABLE_BYTES);

  const metadata = encodeMetadataRegion(spec, disk.blockSizeBytes, disk.logicalSectorSizeBytes);
  store.write(NEW_FILE.metadataOffset, metadata, 0, metadata.length);
  if (spec.type === 'fixed')
    writeFixedTable(store, geometry.payloadBlocks, geometry.chunkRatio, disk.blockSizeBytes, batEnd);

  const header: VhdxHeader = {
    sequenceNumber: 1n,
    fileWriteGuid: randomGuid(),
    dataWriteGuid: randomGuid(),
    logGuid: ZERO_GUID,
    logVersion: LOG_VERSION,
    version: FORMAT_VERSION,
    logLength: NEW_FILE.logLength,
    logOffset: NEW_FILE.logOffset,
  };
  HEADER_OFFSETS.forEach((at, copy) => {
    store.write(at, encodeHeader({ ...header, sequenceNumber: BigInt(copy + 1) }), 0, HEADER_BYTES);
  });
}

/** What Windows chooses. */
export function defaultBlockSize(type: DiskType): number {
  if (type === 'dynamic') return NEW_FILE.dynamicBlockSize;
  return type === 'fixed' ? NEW_FILE.fixedBlockSize : NEW_FILE.differencingBlockSize;
}

function encodeMetadataRegion(spec: NewVhdx, blockSize: number, logicalSectorSize: number): Uint8Array {
  const flags =
    (spec.type === 'fixed' ? FILE_PARAMETER_FLAG.leaveBlockAllocated : 0) |
    (spec.type === 'differencing' ? FILE_PARAMETER_FLAG.hasParent : 0);
  const id = new Uint8Array(16);
  writeGuid(id, 0, spec.virtualDiskId ?? randomGuid());
  const ofDisk = { isUser: false, isVirtualDisk: true, isRequired: true };
  const ofFile = { isUser: false, isVirtualDisk: false, isRequired: true };
  const contents: [Omit<MetadataItem, 'offset' | 'length'>, Uint8Array][] = [
    [{ itemId: ITEM.fileParameters, ...ofFile }, words(blockSize, flags)],
    [
      { itemId: ITEM.virtualDiskSize, ...ofDisk },
      words(spec.virtualSizeBytes % 2 ** 32, Math.floor(spec.virtualSizeBytes / 2 ** 32)),
    ],
    [{ itemId: ITEM.logicalSectorSize, ...ofDisk }, words(logicalSectorSize)],
    [
      { itemId: ITEM.physicalSectorSize, ...ofDisk },
      words(spec.physicalSectorSizeBytes ?? NEW_FILE.physicalSectorSize),
    ],
    [{ itemId: ITEM.virtualDiskId, ...ofDisk }, id],
  ];
  if (spec.locator) contents.push([{ itemId: ITEM.parentLocator, ...ofFile }, encodeLocator(spec.locator)]);
  for (const { item, bytes } of spec.inheritedItems ?? []) contents.push([item, bytes]);

  let at = METADATA_TABLE_BYTES;
  const items = contents.map(([item, bytes]): MetadataItem => {
    const offset = bytes.length === 0 ? 0 : at;
    at += bytes.length;
    return { ...item, offset, length: bytes.length };
  });
  if (at > NEW_FILE.metadataLength) {
    throw new HvError('unsupported', 'the parent has more metadata than a new disk has room for', {
      detail: { bytes: at },
    });
  }
  const region = new Uint8Array(at);
  region.set(encodeMetadataTable(items));
  contents.forEach(([, bytes], index) => {
    region.set(bytes, items[index]?.offset ?? 0);
  });
  return region;
}

/** A fixed disk's blocks lie one after another behind the table, their space reserved. */
function writeFixedTable(store: ByteStore, blocks: number, chunkRatio: number, blockSize: number, start: number): void {
  store.setSize(start + blocks * blockSize);
  store.allocate(start, blocks * blockSize);
  const perChunk = MIB / BAT_ENTRY_BYTES;
  const entries = new BigUint64Array(perChunk);
  const bytes = new Uint8Array(entries.buffer);
  const total = blocks + Math.floor((blocks - 1) / chunkRatio);
  let block = 0;
  for (let first = 0; first < total; first += perChunk) {
    const count = Math.min(perChunk, total - first);
    for (let index = 0; index < count; index++) {
      const isBitmap = (first + index) % (chunkRatio + 1) === chunkRatio;
      entries[index] = isBitmap ? 0n : (BigInt((start + block++ * blockSize) / MIB) << 20n) | BigInt(PAYLOAD.full);
    }
    store.write(NEW_FILE.batOffset + first * BAT_ENTRY_BYTES, bytes, 0, count * BAT_ENTRY_BYTES);
  }
}

function words(...values: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}
