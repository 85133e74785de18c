import { isPowerOfTwo, readGuid, safeNumber, writeGuid } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import { corrupt, type VhdxCorruption } from './corruption.ts';
import {
  FILE_PARAMETER_FLAG,
  ITEM,
  MAX_BLOCK_SIZE,
  MAX_ITEM_BYTES,
  MAX_TABLE_ENTRIES,
  MAX_USER_ITEMS,
  MAX_VIRTUAL_SIZE,
  METADATA_COUNT_AT,
  METADATA_ENTRIES_AT,
  METADATA_ENTRY_AT,
  METADATA_ENTRY_BYTES,
  METADATA_FLAG,
  METADATA_SIGNATURE_HIGH,
  METADATA_SIGNATURE_LOW,
  METADATA_TABLE_BYTES,
  type MetadataItem,
  MIN_BLOCK_SIZE,
  type VhdxRegion,
} from './format.ts';
import { type ParentLocator, parseLocator } from './locator.ts';

/** What the metadata region says of the disk, checked. */
export interface VhdxMetadata {
  readonly blockSizeBytes: number;
  readonly hasParent: boolean;
  /** A fixed disk: blocks are never given back. Ignored in a file that has a parent. */
  readonly leaveBlockAllocated: boolean;
  readonly virtualSizeBytes: number;
  readonly virtualDiskId: string;
  readonly logicalSectorSizeBytes: number;
  readonly physicalSectorSizeBytes: number;
  readonly locator: ParentLocator | undefined;
  readonly items: readonly MetadataItem[];
}

const KNOWN: ReadonlySet<string> = new Set(Object.values(ITEM));

/** Reads and checks the metadata region (2.6). @throws HvError `corrupt`, `unsupported` */
export function readMetadata(store: ByteStore, region: VhdxRegion): VhdxMetadata {
  const items = readItems(store, region);
  const fail = (reason: VhdxCorruption, item: MetadataItem, value: number | bigint): HvError =>
    corrupt(store.name, reason, region.fileOffset + item.offset, value);
  const bytesOf = (itemId: string, atLeast: number): [MetadataItem, DataView] => {
    const item = items.find((candidate) => candidate.itemId === itemId && !candidate.isUser);
    if (!item) throw corrupt(store.name, 'metadata-item-missing', region.fileOffset, itemId);
    if (item.length < atLeast) throw fail('metadata-item-size', item, item.length);
    return [item, new DataView(readItem(store, region, item).buffer)];
  };
  if (items.some((item) => item.itemId === ITEM.incompleteFile && !item.isUser)) {
    throw corrupt(store.name, 'incomplete-file', region.fileOffset, ITEM.incompleteFile);
  }

  const [parameters, parametersView] = bytesOf(ITEM.fileParameters, 8);
  const blockSizeBytes = parametersView.getUint32(0, true);
  if (!isPowerOfTwo(blockSizeBytes) || blockSizeBytes < MIN_BLOCK_SIZE || blockSizeBytes > MAX_BLOCK_SIZE) {
    throw fail('block-size', parameters, blockSizeBytes);
  }
  const flags = parametersView.getUint32(4, true);
  const hasParent = (flags & FILE_PARAMETER_FLAG.hasParent) !== 0;

  const sectorSize = (itemId: string): number => {
    const [item, view] = bytesOf(itemId, 4);
    const value = view.getUint32(0, true);
    if (value !== 512 && value !== 4096) throw fail('sector-size', item, value);
    return value;
  };
  const logicalSectorSizeBytes = sectorSize(ITEM.logicalSectorSize);

  const [sizeItem, sizeView] = bytesOf(ITEM.virtualDiskSize, 8);
  const size = sizeView.getBigUint64(0, true);
  const virtualSizeBytes = safeNumber(size) ?? 0;
  if (
    virtualSizeBytes === 0 ||
    virtualSizeBytes > MAX_VIRTUAL_SIZE ||
    virtualSizeBytes % logicalSectorSizeBytes !== 0
  ) {
    throw fail('disk-size', sizeItem, size);
  }
  const [, idView] = bytesOf(ITEM.virtualDiskId, 16);
  return {
    blockSizeBytes,
    hasParent,
    leaveBlockAllocated: !hasParent && (flags & FILE_PARAMETER_FLAG.leaveBlockAllocated) !== 0,
    virtualSizeBytes,
    virtualDiskId: readGuid(new Uint8Array(idView.buffer)),
    logicalSectorSizeBytes,
    physicalSectorSizeBytes: sectorSize(ITEM.physicalSectorSize),
    locator: hasParent ? readLocator(store, region, items) : undefined,
    items,
  };
}

/** The bytes of one item; the table says at most 1 MiB. */
export function readItem(store: ByteStore, region: VhdxRegion, item: MetadataItem): Uint8Array {
  const bytes = new Uint8Array(item.length);
  if (item.length > 0) store.read(region.fileOffset + item.offset, bytes, 0, item.length);
  return bytes;
}

/** The 64 KiB of a metadata table. */
export function encodeMetadataTable(items: readonly MetadataItem[]): Uint8Array {
  const bytes = new Uint8Array(METADATA_TABLE_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, METADATA_SIGNATURE_LOW, true);
  view.setUint32(4, METADATA_SIGNATURE_HIGH, true);
  view.setUint16(METADATA_COUNT_AT, items.length, true);
  items.forEach((item, index) => {
    const at = METADATA_ENTRIES_AT + index * METADATA_ENTRY_BYTES;
    writeGuid(bytes, at + METADATA_ENTRY_AT.itemId, item.itemId);
    view.setUint32(at + METADATA_ENTRY_AT.offset, item.offset, true);
    view.setUint32(at + METADATA_ENTRY_AT.length, item.length, true);
    const flags =
      (item.isUser ? METADATA_FLAG.isUser : 0) |
      (item.isVirtualDisk ? METADATA_FLAG.isVirtualDisk : 0) |
      (item.isRequired ? METADATA_FLAG.isRequired : 0);
    view.setUint32(at + METADATA_ENTRY_AT.flags, flags, true);
  });
  return bytes;
}

function readLocator(store: ByteStore, region: VhdxRegion, items: readonly MetadataItem[]): ParentLocator {
  const item = items.find((candidate) => candidate.itemId === ITEM.parentLocator && !candidate.isUser);
  if (!item) throw corrupt(store.name, 'locator-missing', region.fileOffset, ITEM.parentLocator);
  return parseLocator(store.name, readItem(store, region, item), region.fileOffset + item.offset);
}

function readItems(store: ByteStore, region: VhdxRegion): MetadataItem[] {
  const table = new Uint8Array(METADATA_TABLE_BYTES);
  store.read(region.fileOffset, table, 0, table.length);
  const view = new DataView(table.buffer);
  if (view.getUint32(0, true) !== METADATA_SIGNATURE_LOW || view.getUint32(4, true) !== METADATA_SIGNATURE_HIGH) {
    throw corrupt(store.name, 'metadata-signature', region.fileOffset, view.getUint32(0, true));
  }
  const count = view.getUint16(METADATA_COUNT_AT, true);
  if (count > MAX_TABLE_ENTRIES)
    throw corrupt(store.name, 'metadata-count', region.fileOffset + METADATA_COUNT_AT, count);
  const items = Array.from({ length: count }, (_, index) => {
    const at = METADATA_ENTRIES_AT + index * METADATA_ENTRY_BYTES;
    const flags = view.getUint32(at + METADATA_ENTRY_AT.flags, true);
    return {
      itemId: readGuid(table, at + METADATA_ENTRY_AT.itemId),
      offset: view.getUint32(at + METADATA_ENTRY_AT.offset, true),
      length: view.getUint32(at + METADATA_ENTRY_AT.length, true),
      isUser: (flags & METADATA_FLAG.isUser) !== 0,
      isVirtualDisk: (flags & METADATA_FLAG.isVirtualDisk) !== 0,
      isRequired: (flags & METADATA_FLAG.isRequired) !== 0,
    };
  });
  judgeItems(store.name, region, items);
  return items;
}

function judgeItems(name: string, region: VhdxRegion, items: readonly MetadataItem[]): void {
  const seen = new Set<string>();
  let users = 0;
  for (const item of items) {
    const identity = `${item.itemId}/${item.isUser}`;
    if (seen.has(identity)) throw corrupt(name, 'metadata-item-duplicate', region.fileOffset, item.itemId);
    seen.add(identity);
    if (item.isUser && ++users > MAX_USER_ITEMS) throw corrupt(name, 'metadata-count', region.fileOffset, users);
    const isPlaced =
      item.length === 0
        ? item.offset === 0
        : item.offset >= METADATA_TABLE_BYTES &&
          item.length <= MAX_ITEM_BYTES &&
          item.offset + item.length <= region.length;
    if (!isPlaced) throw corrupt(name, 'metadata-item-range', region.fileOffset, `${item.offset}+${item.length}`);
    if (item.isRequired && (item.isUser || !KNOWN.has(item.itemId))) {
      throw new HvError('unsupported', `${name} needs a feature that hv does not know (metadata item ${item.itemId})`, {
        detail: { path: name, item: item.itemId },
      });
    }
  }
  let end = 0;
  for (const item of items.filter(({ length }) => length > 0).sort((a, b) => a.offset - b.offset)) {
    if (item.offset < end) throw corrupt(name, 'metadata-item-overlap', region.fileOffset + item.offset, item.itemId);
    end = item.offset + item.length;
  }
}
