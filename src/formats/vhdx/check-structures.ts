import { readGuid, safeNumber, ZERO_GUID } from '../../binary/index.ts';
import { isHvError } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import type { CheckFinding } from '../check-finding.ts';
import type { FindingList } from '../finding-list.ts';
import { reasonText, type VhdxCorruption } from './corruption.ts';
import {
  BAT_REGION,
  FIRST_OBJECT_OFFSET,
  HEADER_OFFSETS,
  ITEM,
  MAX_ITEM_BYTES,
  MAX_TABLE_ENTRIES,
  MAX_USER_ITEMS,
  METADATA_COUNT_AT,
  METADATA_ENTRIES_AT,
  METADATA_ENTRY_AT,
  METADATA_ENTRY_BYTES,
  METADATA_FLAG,
  METADATA_REGION,
  METADATA_SIGNATURE_HIGH,
  METADATA_SIGNATURE_LOW,
  METADATA_TABLE_BYTES,
  MIB,
  REGION_ENTRIES_AT,
  REGION_ENTRY_AT,
  REGION_ENTRY_BYTES,
  REGION_SIGNATURE,
  REGION_TABLE_BYTES,
  REGION_TABLE_OFFSETS,
  type VhdxHeader,
  type VhdxRegion,
} from './format.ts';
import { type CurrentHeader, hasValidChecksum, parseHeader, readCopy, readCurrentHeader } from './header.ts';
import { replayLog } from './log-reader.ts';
import { readMetadata, type VhdxMetadata } from './metadata.ts';
import { readRegions, type VhdxRegions } from './regions.ts';
import { ReplayOverlay } from './replay-targets.ts';

/** What a check finds beside the reasons for which a file is not opened. */
export const NOTES = {
  'header-copy-damaged': 'one of its two headers is damaged, the other is whole',
  'log-in-use': 'its log holds changes that are not in their place: it was not closed in order',
  'log-beyond-end': 'its log lies partly beyond the end of the file',
  'region-table-copy-damaged': 'one of its two region tables is damaged, the other is whole',
  'region-tables-differ': 'its two region tables are whole and differ',
  'region-unknown': 'it needs a region that hv does not know',
  'region-foreign': 'it has a region that hv does not know and does not need',
  'region-beyond-end': 'a region lies partly beyond the end of the file',
  'metadata-item-unknown': 'it needs a metadata item that hv does not know',
  'metadata-item-flags': 'a metadata item has other flags than the format gives it',
  'metadata-reserved': 'reserved bytes of its metadata table are set',
  'locator-unexpected': 'it names a parent but says that it has none',
  'locator-no-path': 'its parent locator holds no path',
  'locator-kind': 'its parent is of a kind that hv does not know',
  'virtual-disk-id-zero': 'its virtual disk id is zero',
  'bat-behind-table': 'entries behind the end of its block allocation table are set, as shrinking may leave them',
  'file-end-unaligned': 'its length is no multiple of 1 MiB',
  'space-leaked': 'space of the file belongs to nothing',
  'check-incomplete': 'what lies behind this was not checked',
} as const;

export type VhdxNote = keyof typeof NOTES;

/** A finding of a known code; what is wrong is said by the code's text. */
export function finding(
  code: VhdxCorruption | VhdxNote,
  offsetBytes: number | null,
  value: number | string | bigint | undefined,
  rest: Pick<CheckFinding, 'severity' | 'repair'> = { severity: 'error', repair: 'impossible' },
): CheckFinding {
  const message = Object.hasOwn(NOTES, code) ? NOTES[code as VhdxNote] : reasonText(code as VhdxCorruption); // one of the two has it
  return {
    code,
    offsetBytes,
    message,
    ...(value === undefined ? {} : { value: typeof value === 'bigint' ? value.toString() : value }),
    ...rest,
  };
}

/** What may be set right by itself and harms nobody until then. */
export const REPAIRABLE = { severity: 'warning', repair: 'possible' } as const;
export const WARNING = { severity: 'warning', repair: 'impossible' } as const;
export const INFO = { severity: 'info', repair: 'not-needed' } as const;

/** Runs a reader that refuses at the first fault, and makes that fault a finding. @returns undefined when it refused */
export function collect<T>(list: FindingList, read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!isHvError(error, 'corrupt')) throw error;
    const { reason, offset, value } = error.detail;
    list.add(
      finding(
        String(reason) as VhdxCorruption, // the format's own errors carry its reasons
        typeof offset === 'number' ? offset : null,
        typeof value === 'number' || typeof value === 'string' ? value : undefined,
      ),
    );
    return undefined;
  }
}

/** Both headers (2.2.2): signature, checksum, sequence, and that the current one makes sense. */
export function checkHeaders(store: ByteStore, list: FindingList): CurrentHeader | undefined {
  const current = collect(list, () => readCurrentHeader(store));
  if (!current) return undefined;
  HEADER_OFFSETS.forEach((offset, copy) => {
    if (copy !== current.copy && !parseHeader(readCopy(store, copy === 0 ? 0 : 1))) {
      list.add(finding('header-copy-damaged', offset, undefined, REPAIRABLE));
    }
  });
  const { logOffset, logLength, logGuid } = current.header;
  if (logOffset + logLength > store.size()) {
    const isEmpty = logGuid === ZERO_GUID;
    list.add(
      finding('log-beyond-end', logOffset, logLength, {
        severity: 'error',
        repair: isEmpty ? 'possible' : 'impossible',
      }),
    );
  }
  return current;
}

/** The log (2.3): empty, or complete enough to be replayed. @returns the file as it is after that; undefined when nobody knows */
export function checkLog(
  store: ByteStore,
  header: VhdxHeader,
  list: FindingList,
  hostRun: string | undefined,
): ByteStore | undefined {
  if (header.logGuid === ZERO_GUID) return store;
  const overlay = new ReplayOverlay(store);
  const isReplayed = collect(list, () => {
    replayLog(store, header, overlay, { inMemory: true, hostRun });
    return true;
  });
  if (!isReplayed) {
    list.add(finding('check-incomplete', header.logOffset, undefined, INFO));
    return undefined;
  }
  list.add(finding('log-in-use', header.logOffset, header.logGuid, REPAIRABLE));
  return overlay;
}

/** Both region tables (2.2.3) and every region of the one that counts. */
export function checkRegions(view: ByteStore, header: VhdxHeader, list: FindingList): VhdxRegions | undefined {
  const copies = REGION_TABLE_OFFSETS.map((offset) => {
    const bytes = new Uint8Array(REGION_TABLE_BYTES);
    view.read(offset, bytes, 0, bytes.length);
    const isWhole = new DataView(bytes.buffer).getUint32(0, true) === REGION_SIGNATURE && hasValidChecksum(bytes, 4);
    return { offset, bytes, isWhole };
  });
  const whole = copies.filter(({ isWhole }) => isWhole);
  const [first, second] = whole;
  if (!first) {
    list.add(finding('no-valid-region-table', REGION_TABLE_OFFSETS[0], 0));
    return undefined;
  }
  for (const { offset, isWhole } of copies) {
    if (!isWhole) list.add(finding('region-table-copy-damaged', offset, undefined, REPAIRABLE));
  }
  if (second && Buffer.compare(first.bytes, second.bytes) !== 0) {
    list.add(finding('region-tables-differ', second.offset, undefined, WARNING));
  }
  if (!areSoundRegions(view, first.bytes, first.offset, header, list)) return undefined;
  return collect(list, () => readRegions(view, header));
}

function areSoundRegions(
  view: ByteStore,
  bytes: Uint8Array,
  tableAt: number,
  header: VhdxHeader,
  list: FindingList,
): boolean {
  const data = new DataView(bytes.buffer);
  const count = data.getUint32(8, true);
  if (count > MAX_TABLE_ENTRIES) {
    list.add(finding('region-count', tableAt + 8, count));
    return false;
  }
  let isSound = true;
  const fail = (code: VhdxCorruption | VhdxNote, offset: number, value: number | string): void => {
    isSound = false;
    list.add(finding(code, offset, value));
  };
  const seen = new Set<string>();
  const ranges = [{ at: header.logOffset, start: header.logOffset, end: header.logOffset + header.logLength }];
  for (let index = 0; index < count; index++) {
    const at = REGION_ENTRIES_AT + index * REGION_ENTRY_BYTES;
    const guid = readGuid(bytes, at + REGION_ENTRY_AT.guid);
    const start = safeNumber(data.getBigUint64(at + REGION_ENTRY_AT.fileOffset, true)) ?? Number.NaN;
    const length = data.getUint32(at + REGION_ENTRY_AT.length, true);
    const isKnown = guid === BAT_REGION || guid === METADATA_REGION;
    if (seen.has(guid)) fail('region-duplicate', tableAt + at, guid);
    seen.add(guid);
    const isPlaced =
      start >= FIRST_OBJECT_OFFSET &&
      start % MIB === 0 &&
      length > 0 &&
      length % MIB === 0 &&
      Number.isSafeInteger(start + length);
    if (!isPlaced) {
      fail('region-range', tableAt + at, `${start}+${length}`);
      continue;
    }
    if (!isKnown && (data.getUint32(at + REGION_ENTRY_AT.required, true) & 1) !== 0) {
      fail('region-unknown', tableAt + at, guid);
    } else if (!isKnown) {
      list.add(finding('region-foreign', tableAt + at, guid, INFO));
    }
    // Nothing that is in use lies there, or it is lost: the judgement of what lies in the region says which.
    if (start + length > view.size()) list.add(finding('region-beyond-end', tableAt + at, guid, WARNING));
    ranges.push({ at: tableAt + at, start, end: start + length });
  }
  ranges.sort((a, b) => a.start - b.start);
  ranges.reduce((before, range) => {
    if (range.start < before.end) fail('region-overlap', range.at, range.start);
    return range.end > before.end ? range : before;
  });
  for (const guid of [BAT_REGION, METADATA_REGION]) if (!seen.has(guid)) fail('region-missing', tableAt, guid);
  return isSound;
}

const ITEM_FLAGS: Readonly<Record<string, number>> = {
  [ITEM.fileParameters]: METADATA_FLAG.isRequired,
  [ITEM.virtualDiskSize]: METADATA_FLAG.isVirtualDisk | METADATA_FLAG.isRequired,
  [ITEM.virtualDiskId]: METADATA_FLAG.isVirtualDisk | METADATA_FLAG.isRequired,
  [ITEM.logicalSectorSize]: METADATA_FLAG.isVirtualDisk | METADATA_FLAG.isRequired,
  [ITEM.physicalSectorSize]: METADATA_FLAG.isVirtualDisk | METADATA_FLAG.isRequired,
  [ITEM.parentLocator]: METADATA_FLAG.isRequired,
};
const ALL_FLAGS = METADATA_FLAG.isUser | METADATA_FLAG.isVirtualDisk | METADATA_FLAG.isRequired;

/** The metadata table (2.6.1), every entry of it, and what the known items say (2.6.2). */
export function checkMetadata(view: ByteStore, region: VhdxRegion, list: FindingList): VhdxMetadata | undefined {
  if (!areSoundItems(view, region, list)) return undefined;
  let metadata: VhdxMetadata | undefined;
  try {
    metadata = collect(list, () => readMetadata(view, region));
  } catch (error) {
    // The locator's kind is the last thing that a file may need and hv not know.
    if (!isHvError(error, 'unsupported')) throw error;
    list.add(finding('locator-kind', region.fileOffset, String(error.detail.locatorType ?? error.detail.item ?? '')));
  }
  if (!metadata) return undefined;
  const { hasParent, locator, items, virtualDiskId } = metadata;
  const placeOf = (itemId: string): number | null => {
    const item = items.find((each) => each.itemId === itemId && !each.isUser);
    return item ? region.fileOffset + item.offset : null;
  };
  if (!hasParent && placeOf(ITEM.parentLocator) !== null) {
    list.add(finding('locator-unexpected', placeOf(ITEM.parentLocator), undefined, WARNING));
  }
  if (locator && (locator.relativePath ?? locator.volumePath ?? locator.absolutePath) === undefined) {
    list.add(finding('locator-no-path', placeOf(ITEM.parentLocator), undefined));
  }
  if (virtualDiskId === ZERO_GUID) {
    list.add(finding('virtual-disk-id-zero', placeOf(ITEM.virtualDiskId), virtualDiskId, WARNING));
  }
  return metadata;
}

function areSoundItems(view: ByteStore, region: VhdxRegion, list: FindingList): boolean {
  const table = new Uint8Array(METADATA_TABLE_BYTES);
  view.read(region.fileOffset, table, 0, table.length);
  const data = new DataView(table.buffer);
  if (data.getUint32(0, true) !== METADATA_SIGNATURE_LOW || data.getUint32(4, true) !== METADATA_SIGNATURE_HIGH) {
    list.add(finding('metadata-signature', region.fileOffset, data.getUint32(0, true)));
    return false;
  }
  const count = data.getUint16(METADATA_COUNT_AT, true);
  if (count > MAX_TABLE_ENTRIES) {
    list.add(finding('metadata-count', region.fileOffset + METADATA_COUNT_AT, count));
    return false;
  }
  let isSound = true;
  const fail = (code: VhdxCorruption | VhdxNote, offset: number, value: number | string): void => {
    isSound = false;
    list.add(finding(code, offset, value));
  };
  const seen = new Set<string>();
  const ranges: { readonly at: number; readonly start: number; readonly end: number }[] = [];
  let users = 0;
  for (let index = 0; index < count; index++) {
    const inTable = METADATA_ENTRIES_AT + index * METADATA_ENTRY_BYTES;
    const at = region.fileOffset + inTable;
    const itemId = readGuid(table, inTable + METADATA_ENTRY_AT.itemId);
    const start = data.getUint32(inTable + METADATA_ENTRY_AT.offset, true);
    const length = data.getUint32(inTable + METADATA_ENTRY_AT.length, true);
    const flags = data.getUint32(inTable + METADATA_ENTRY_AT.flags, true);
    const isUser = (flags & METADATA_FLAG.isUser) !== 0;
    const identity = `${itemId}/${isUser}`;
    if (seen.has(identity)) fail('metadata-item-duplicate', at, itemId);
    seen.add(identity);
    if (isUser && ++users === MAX_USER_ITEMS + 1) fail('metadata-count', at, users);
    const isEmpty = length === 0 && start === 0;
    const isPlaced = start >= METADATA_TABLE_BYTES && length <= MAX_ITEM_BYTES && start + length <= region.length;
    if (!isEmpty && (length === 0 || !isPlaced)) fail('metadata-item-range', at, `${start}+${length}`);
    else if (!isEmpty) ranges.push({ at, start, end: start + length });
    const known = isUser ? undefined : ITEM_FLAGS[itemId];
    const isForeign = isUser || (known === undefined && itemId !== ITEM.incompleteFile);
    if (isForeign && (flags & METADATA_FLAG.isRequired) !== 0) fail('metadata-item-unknown', at, itemId);
    if (known !== undefined && (flags & ALL_FLAGS) !== known) {
      list.add(finding('metadata-item-flags', at + METADATA_ENTRY_AT.flags, flags, WARNING));
    }
    if (flags >>> 0 > ALL_FLAGS || data.getUint32(inTable + METADATA_ENTRY_AT.flags + 4, true) !== 0) {
      list.add(finding('metadata-reserved', at + METADATA_ENTRY_AT.flags, flags >>> 0, WARNING));
    }
  }
  ranges.sort((a, b) => a.start - b.start);
  let end = 0;
  for (const range of ranges) {
    if (range.start < end) fail('metadata-item-overlap', range.at, range.start);
    end = Math.max(end, range.end);
  }
  return isSound;
}
