import { isGuid, parseGuid, roundUp, writeGuid, ZERO_GUID } from '../../binary/index.ts';
import { HvError, invariant } from '../../errors/index.ts';
import {
  ITEM,
  MAX_ITEM_BYTES,
  MAX_TABLE_ENTRIES,
  MAX_USER_ITEMS,
  METADATA_TABLE_BYTES,
  type MetadataItem,
  MIB,
} from './format.ts';
import { logChanges } from './logged-change.ts';
import { encodeMetadataTable, readItem, type VhdxMetadata } from './metadata.ts';
import { type ChangedImage, freeRegion, type ImageParts, regionChanges, withRegion } from './resize.ts';

/** A user metadata item as callers name it. */
export interface UserItem {
  readonly id: string;
  readonly lengthBytes: number;
}

export function userItems(metadata: VhdxMetadata): UserItem[] {
  return metadata.items
    .filter(({ isUser }) => isUser)
    .map(({ itemId, length }) => ({ id: itemId, lengthBytes: length }));
}

/** @throws HvError `not-found`, `invalid-argument` (no GUID) */
export function findUserItem(name: string, metadata: VhdxMetadata, id: string): MetadataItem {
  const itemId = itemIdOf(id);
  const item = metadata.items.find((candidate) => candidate.isUser && candidate.itemId === itemId);
  if (item) return item;
  throw new HvError('not-found', `${name} has no user metadata ${itemId}`, { detail: { path: name, item: itemId } });
}

/**
 * Sets a user metadata item, a new one or one that is there (2.6.1.2). Its bytes are written into space of the region
 * that nothing points at and made durable; then one log entry switches the table. A region without room for it is
 * written anew elsewhere, larger, and the entry makes both region tables name that place.
 * @throws HvError `invalid-argument` (no GUID, or more than 1 MiB), `unsupported` (1,024 items are there), `no-space`, `io`
 */
export function setUserItem(parts: ImageParts, id: string, bytes: Uint8Array): ChangedImage {
  const { store } = parts;
  const itemId = itemIdOf(id);
  if (bytes.length > MAX_ITEM_BYTES) {
    throw new HvError('invalid-argument', `a metadata item holds at most 1 MiB; this one has ${bytes.length} bytes`, {
      detail: { item: itemId, lengthBytes: bytes.length },
    });
  }
  const { items } = parts.metadata;
  const old = items.find((item) => item.isUser && item.itemId === itemId);
  if (!old) mustHaveRoom(store.name, items);
  parts.begin();
  const item = { itemId, isUser: true, isVirtualDisk: false, isRequired: false, ...old, length: bytes.length };
  const withItem = (offset: number): MetadataItem[] =>
    old ? items.map((each) => (each === old ? { ...item, offset } : each)) : [...items, { ...item, offset }];
  const region = parts.regions.metadata;
  const offset = bytes.length === 0 ? 0 : freeOffset(items, bytes.length, region.length);
  if (offset === undefined) return moveRegion(parts, withItem(0), itemId, bytes);
  return switchTable(parts, withItem(offset), () => store.write(region.fileOffset + offset, bytes, 0, bytes.length));
}

/** @throws HvError `not-found`, `invalid-argument` (no GUID), `io`, `no-space` */
export function deleteUserItem(parts: ImageParts, id: string): ChangedImage {
  const gone = findUserItem(parts.store.name, parts.metadata, id);
  parts.begin();
  return switchTable(
    parts,
    parts.metadata.items.filter((item) => item !== gone),
    () => {},
  );
}

/** Gives the disk another id. Windows: SET_VIRTUAL_DISK_INFO_VIRTUAL_DISK_ID. @throws HvError `invalid-argument`, `io` */
export function changeVirtualDiskId(parts: ImageParts, id: string): ChangedImage {
  const virtualDiskId = itemIdOf(id);
  const bytes = new Uint8Array(16);
  writeGuid(bytes, 0, virtualDiskId);
  return overwriteItem(parts, ITEM.virtualDiskId, bytes, { virtualDiskId });
}

/** Windows: SET_VIRTUAL_DISK_INFO_PHYSICAL_SECTOR_SIZE. @throws HvError `invalid-argument`, `io` */
export function changePhysicalSectorSize(parts: ImageParts, sizeBytes: number): ChangedImage {
  if (sizeBytes !== 512 && sizeBytes !== 4096) {
    throw new HvError('invalid-argument', `the physical sector size must be 512 or 4096 bytes; ${sizeBytes} is not`, {
      detail: { value: sizeBytes },
    });
  }
  const bytes = new Uint8Array(Uint32Array.of(sizeBytes).buffer);
  return overwriteItem(parts, ITEM.physicalSectorSize, bytes, { physicalSectorSizeBytes: sizeBytes });
}

/** Writes what the new table names where nothing names it yet, then the table through the log. */
function switchTable(parts: ImageParts, items: readonly MetadataItem[], writeFirst: () => void): ChangedImage {
  const { store, journal, cache, table, regions } = parts;
  const region = regions.metadata;
  // What an earlier change freed must be free for good before it is written over.
  journal.settle();
  writeFirst();
  cache.forget(region.fileOffset, region.fileOffset + region.length);
  store.flushSync();
  logChanges(journal, cache, [{ fileOffset: region.fileOffset, bytes: encodeMetadataTable(items) }]);
  return { table, regions, metadata: { ...parts.metadata, items }, finish: () => journal.runNow(journal.flushSteps()) };
}

/** Writes the region anew, its items one after another, with room for more. */
function moveRegion(
  parts: ImageParts,
  items: readonly MetadataItem[],
  addedId: string,
  addedBytes: Uint8Array,
): ChangedImage {
  const { store, journal, cache, space, table, regions } = parts;
  const old = regions.metadata;
  journal.settle();
  let at = METADATA_TABLE_BYTES;
  const placed = items.map((item): MetadataItem => {
    const offset = item.length === 0 ? 0 : at;
    at += item.length;
    return { ...item, offset };
  });
  const length = roundUp(at + MIB, MIB);
  const fileOffset = space.allocate(length);
  try {
    const region = { ...old, fileOffset, length };
    const head = encodeMetadataTable(placed);
    store.write(fileOffset, head, 0, head.length);
    placed.forEach((item, index) => {
      const isAdded = item.isUser && item.itemId === addedId;
      const bytes = isAdded ? addedBytes : readItem(store, old, items[index] ?? item);
      store.write(fileOffset + item.offset, bytes, 0, bytes.length);
    });
    cache.forget(fileOffset, fileOffset + length);
    store.flushSync();
    const sequence = logChanges(journal, cache, regionChanges(regions, region));
    return {
      table,
      regions: withRegion(regions, region),
      metadata: { ...parts.metadata, items: placed },
      finish: () => {
        journal.settle();
        freeRegion(parts, old, sequence);
      },
    };
  } catch (error) {
    space.cancel(fileOffset, length);
    throw error;
  }
}

function overwriteItem(
  parts: ImageParts,
  itemId: string,
  bytes: Uint8Array,
  change: Partial<VhdxMetadata>,
): ChangedImage {
  const { journal, cache, table, regions, metadata } = parts;
  const item = metadata.items.find((candidate) => candidate.itemId === itemId && !candidate.isUser);
  invariant(item, 'an open file has the items that every file has');
  parts.begin();
  logChanges(journal, cache, [{ fileOffset: regions.metadata.fileOffset + item.offset, bytes }]);
  return {
    table,
    regions,
    metadata: { ...metadata, ...change },
    finish: () => journal.runNow(journal.flushSteps()),
  };
}

function itemIdOf(id: string): string {
  if (isGuid(id)) {
    const guid = parseGuid(id);
    if (guid !== ZERO_GUID) return guid;
  }
  throw new HvError('invalid-argument', `${JSON.stringify(id)} is not a GUID that names anything`, {
    detail: { value: id },
    hint: 'Write it as 01234567-89ab-cdef-0123-456789abcdef.',
  });
}

function mustHaveRoom(name: string, items: readonly MetadataItem[]): void {
  const users = items.filter(({ isUser }) => isUser).length;
  if (users < MAX_USER_ITEMS && items.length < MAX_TABLE_ENTRIES) return;
  throw new HvError('unsupported', `${name} has ${users} user metadata items, as many as a VHDX file can have`, {
    detail: { path: name, items: users },
    hint: 'Delete one first.',
  });
}

/** The first gap of the region behind its table; the old bytes of every item stay until the table has switched. */
function freeOffset(items: readonly MetadataItem[], length: number, regionLength: number): number | undefined {
  let at = METADATA_TABLE_BYTES;
  for (const item of [...items].sort((a, b) => a.offset - b.offset)) {
    if (item.length === 0) continue;
    if (item.offset - at >= length) return at;
    at = Math.max(at, item.offset + item.length);
  }
  return regionLength - at >= length ? at : undefined;
}
