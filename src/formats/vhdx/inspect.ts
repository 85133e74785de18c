import { ZERO_GUID } from '../../binary/index.ts';
import { HvError, invariant } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import { ITEM, METADATA_TABLE_BYTES, type MetadataItem, type VhdxHeader } from './format.ts';
import { readCurrentHeader } from './header.ts';
import { encodeLocator, parseLocator } from './locator.ts';
import { replayLog } from './log-reader.ts';
import { encodeMetadataTable, readItem, readMetadata, type VhdxMetadata } from './metadata.ts';
import { readRegions } from './regions.ts';
import { ReplayOverlay } from './replay-targets.ts';
import type { VhdxImage } from './vhdx-image.ts';

export interface VhdxSummary {
  readonly header: VhdxHeader;
  readonly metadata: VhdxMetadata;
  /** Whether its log held changes that are not in their place. */
  readonly hasLog: boolean;
}

/**
 * Reads what a file says of itself, without its block allocation table.
 * @param isChanging another process is writing to it: its log is left alone, as it may change while it is read
 * @throws HvError `corrupt`, `unsupported`, `io`
 */
export function readVhdxSummary(store: ByteStore, isChanging = false): VhdxSummary {
  const { header } = readCurrentHeader(store);
  const hasLog = header.logGuid !== ZERO_GUID;
  let view = store;
  if (hasLog && !isChanging) {
    const overlay = new ReplayOverlay(store);
    replayLog(store, header, overlay, { inMemory: true, hostRun: undefined });
    view = overlay;
  }
  return { header, metadata: readMetadata(view, readRegions(view, header).metadata), hasLog };
}

/** The items that a child takes over from its parent: the disk's own, but for those that every file has. */
export function inheritableItems(image: VhdxImage): { item: MetadataItem; bytes: Uint8Array }[] {
  const known = new Set<string>(Object.values(ITEM));
  return image.metadata.items
    .filter((item) => item.isVirtualDisk && (item.isUser || !known.has(item.itemId)))
    .map((item) => ({ item, bytes: readItem(image.store, image.regions.metadata, item) }));
}

/**
 * Gives an open differencing file another locator, through the log: old or new, never half.
 * @throws HvError `invalid-state` (no differencing disk), `no-space` (its metadata region is full)
 */
export function replaceLocator(image: VhdxImage, pairs: readonly (readonly [string, string])[]): void {
  const { items } = image.metadata;
  const index = items.findIndex((item) => item.itemId === ITEM.parentLocator && !item.isUser);
  const old = items[index];
  if (!image.metadata.hasParent || !old) {
    throw new HvError('invalid-state', `${image.name} is not a differencing disk`, { detail: { path: image.name } });
  }
  const bytes = encodeLocator(pairs);
  const region = image.regions.metadata;
  const others = items.filter((_, other) => other !== index);
  const offset = freeRange(others, old.offset, bytes.length, region.length);
  if (offset === undefined) {
    throw new HvError('no-space', `${image.name} has no room for another parent locator`, {
      detail: { path: image.name },
    });
  }
  const changed = items.map((item, at) => (at === index ? { ...item, offset, length: bytes.length } : item));
  const table = encodeMetadataTable(changed);
  invariant(table.length === METADATA_TABLE_BYTES, 'a metadata table has its size');
  const locator = parseLocator(image.name, bytes, region.fileOffset + offset);
  image.changeMetadataRegion(
    [
      { offset: 0, bytes: table },
      { offset, bytes },
    ],
    { items: changed, locator },
  );
}

/** Room for `length` bytes: at the old place when it fits there, else in the first gap. */
function freeRange(
  items: readonly MetadataItem[],
  old: number,
  length: number,
  regionLength: number,
): number | undefined {
  const taken = items.filter((item) => item.length > 0).sort((a, b) => a.offset - b.offset);
  const fits = (offset: number): boolean =>
    offset + length <= regionLength &&
    taken.every((item) => item.offset + item.length <= offset || offset + length <= item.offset);
  if (old >= METADATA_TABLE_BYTES && fits(old)) return old;
  const starts = [METADATA_TABLE_BYTES, ...taken.map((item) => item.offset + item.length)];
  return starts.find(fits);
}
