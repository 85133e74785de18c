import { type LongOptions, throwIfAborted } from '../../async/index.ts';
import { HvError } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import type { CheckFinding, CheckResult } from '../check-finding.ts';
import { FindingList } from '../finding-list.ts';
import { type FileSpan, readTable, structuresOf } from './block-table.ts';
import { corruptionText, isVhdCorruption } from './corruption.ts';
import { type DynamicHeader, hasParentFields, readDynamicHeader } from './dynamic-header.ts';
import { type FoundFooters, findFooters, readFooter, type VhdFooter, viewOf } from './footer.ts';
import {
  BAT_ENTRY_BYTES,
  CREATORS_BY_GEOMETRY,
  FEATURE_RESERVED,
  FOOTER_AT,
  FOOTER_BYTES,
  HEADER_AT,
  NO_OFFSET,
  PLATFORM,
  SECTOR,
  UNUSED_ENTRY,
} from './format.ts';
import { geometryOf } from './geometry.ts';
import { repairFooters } from './repair-footers.ts';
import { finishGrowing, growingRange } from './resize.ts';

/** From here on a table is garbage, and that is said. */
const MAX_WRONG_ENTRIES = 10_000;

export interface CheckVhdFileOptions extends LongOptions {
  /** Set right what the file itself proves. The store must be writable. */
  readonly repair?: boolean | undefined;
}

/**
 * Checks every rule of the format, on files too that are refused when they are opened; each finding with its place and
 * the value seen. A check that cannot go on says so and ends, so that a damaged header hides what lies behind it.
 *
 * A repair does what the file proves: writes the damaged one of the two footers anew from the other, and brings a fixed
 * disk's interrupted growth to its end. It never throws contents away and never guesses.
 *
 * Source: Virtual Hard Disk Image Format Specification. Memory is bounded by the block allocation table.
 * @throws HvError `io`, `no-space`, `aborted`, `permission-denied` (repair of a read-only store)
 */
export function checkVhd(store: ByteStore, options: CheckVhdFileOptions = {}): CheckResult {
  throwIfAborted(options.signal, 'checking the disk');
  const before = check(store);
  const { findings, moreFindings } = before.list;
  const first = { findings, moreFindings, repaired: [] };
  if (!options.repair || !before.footer || !findings.some(({ repair }) => repair === 'possible')) return first;
  if (before.footer.type === 'fixed') finishGrowing(store, before.footer);
  else repairFooters(store, before.footer.bytes, before.endOffset);
  store.flushSync();
  const left = new Set(check(store).list.findings.map(({ code }) => code));
  return { ...first, repaired: findings.filter(({ code, repair }) => repair === 'possible' && !left.has(code)) };
}

interface Checked {
  readonly list: FindingList;
  readonly footer: VhdFooter | undefined;
  /** Everything but the trailing footer ends before this, where the table could be read. */
  readonly endOffset: number;
}

function check(store: ByteStore): Checked {
  const list = new FindingList();
  const found = findFooters(store);
  const footer = orFinding(list, () => readFooter(store));
  if (!footer) return { list, footer, endOffset: 0 };
  const counted = found.trailing ? found.trailingOffset : 0;
  checkFooter(list, footer, counted);
  if (footer.type === 'fixed') {
    checkFixed(list, footer, found);
    return { list, footer, endOffset: 0 };
  }
  const header = orFinding(list, () => readDynamicHeader(store, footer));
  if (!header) {
    checkFooterPair(list, found, false);
    return { list, footer, endOffset: 0 };
  }
  checkHeader(list, footer, header);
  const endOffset = checkTable(list, store, footer, header);
  checkFooterPair(list, found, !list.hasErrors);
  if (found.trailing && !list.hasErrors && found.trailingOffset > endOffset) {
    list.add({
      ...info('unused-space', endOffset, 'space behind the last block belongs to nothing'),
      value: found.trailingOffset - endOffset,
    });
  }
  return { list, footer, endOffset };
}

/** Runs a step of opening; what it refuses becomes a finding. */
function orFinding<T>(list: FindingList, read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof HvError) || error.code !== 'corrupt') throw error;
    const { reason, offset, value } = error.detail;
    list.add({
      code: String(reason),
      severity: 'error',
      offsetBytes: typeof offset === 'number' ? offset : null,
      message: typeof reason === 'string' && isVhdCorruption(reason) ? corruptionText(reason) : String(reason),
      ...(typeof value === 'number' || typeof value === 'string' ? { value } : {}),
      repair: 'impossible',
    });
    return undefined;
  }
}

function checkFooterPair(
  list: FindingList,
  { leading, trailing, trailingOffset }: FoundFooters,
  isRest: boolean,
): void {
  // Where the rest cannot be read, nobody knows where the trailing footer's place is.
  const repair = isRest ? 'possible' : 'impossible';
  if (!trailing) {
    const offsetBytes = Math.max(0, trailingOffset);
    list.add({
      code: 'footer-damaged',
      severity: 'error',
      offsetBytes,
      message: 'its trailing footer is damaged',
      repair,
    });
    return;
  }
  if (!leading) {
    const message = "the footer's copy at its start is damaged";
    list.add({ code: 'footer-copy-damaged', severity: 'error', offsetBytes: 0, message, repair });
  } else if (Buffer.compare(leading, trailing.subarray(0, FOOTER_BYTES)) !== 0) {
    const message = 'its two footers differ; the trailing one counts';
    list.add({ code: 'footers-differ', severity: 'warning', offsetBytes: 0, message, repair });
  }
}

function checkFooter(list: FindingList, footer: VhdFooter, at: number): void {
  const view = viewOf(footer.bytes);
  const features = view.getUint32(FOOTER_AT.features);
  if ((features & FEATURE_RESERVED) === 0) {
    list.add({
      ...warning('footer-features', at + FOOTER_AT.features, 'the bit of its features that is always set is not'),
      value: features,
    });
  }
  if (view.getUint8(FOOTER_AT.savedState) !== 0) {
    list.add(info('saved-state', at + FOOTER_AT.savedState, 'a virtual machine was saved with it'));
  }
  const { geometry, creatorApplication, currentSizeBytes } = footer;
  const usual = geometryOf(currentSizeBytes);
  const isUsual = (Object.keys(usual) as (keyof typeof usual)[]).every((key) => usual[key] === geometry[key]);
  if (!isUsual && !CREATORS_BY_GEOMETRY.includes(creatorApplication)) {
    list.add({
      ...info('geometry', at + FOOTER_AT.cylinders, 'its geometry is not the one for its size'),
      value: `${geometry.cylinders}/${geometry.heads}/${geometry.sectorsPerTrack}`,
    });
  }
}

function checkFixed(list: FindingList, footer: VhdFooter, { trailingOffset }: FoundFooters): void {
  const { sizeBytes } = footer;
  if (sizeBytes > trailingOffset) {
    list.add({
      code: 'disk-size',
      severity: 'error',
      offsetBytes: trailingOffset + FOOTER_AT.currentSize,
      message: 'it is shorter than its disk',
      value: sizeBytes,
      repair: 'impossible',
    });
  }
  const dataOffset = viewOf(footer.bytes).getBigUint64(FOOTER_AT.dataOffset);
  if (dataOffset !== NO_OFFSET) {
    list.add({
      ...warning('footer-data-offset', trailingOffset + FOOTER_AT.dataOffset, 'a fixed disk names a dynamic header'),
      value: dataOffset.toString(),
    });
  }
  const growing = growingRange(footer);
  if (growing) {
    list.add({
      code: 'growth-unfinished',
      severity: 'warning',
      offsetBytes: growing.offset,
      message: 'it was interrupted while it grew',
      repair: 'possible',
    });
  }
  if (trailingOffset > sizeBytes) {
    const message = 'space behind the disk belongs to nothing';
    list.add({ ...info('unused-space', sizeBytes, message), value: trailingOffset - sizeBytes });
  }
}

function checkHeader(list: FindingList, footer: VhdFooter, header: DynamicHeader): void {
  const { fileOffset, tableEntries, blockSizeBytes } = header;
  const dataOffset = viewOf(header.bytes).getBigUint64(HEADER_AT.dataOffset);
  if (dataOffset !== NO_OFFSET) {
    list.add({
      ...warning('header-data-offset', fileOffset + HEADER_AT.dataOffset, 'its dynamic header names a further one'),
      value: dataOffset.toString(),
    });
  }
  if (tableEntries !== Math.ceil(footer.sizeBytes / blockSizeBytes)) {
    const message = 'its block allocation table has more entries than the disk has blocks';
    list.add({ ...info('bat-count', fileOffset + HEADER_AT.maxTableEntries, message), value: tableEntries });
  }
  if (footer.type !== 'differencing') return;
  if (!hasParentFields(header)) {
    list.add(warning('parent-id', fileOffset + HEADER_AT.parentUniqueId, 'it does not say which disk its parent is'));
  }
  const known = Object.values(PLATFORM) as string[];
  for (const { platform } of header.locators) {
    if (known.includes(platform)) continue;
    const message = 'one of its parent locators is of an unknown kind';
    list.add({ ...info('locator-platform', fileOffset + HEADER_AT.locators, message), value: platform });
  }
  if (header.locators.length === 0) {
    list.add(warning('locator-missing', fileOffset + HEADER_AT.locators, 'it does not say where its parent lies'));
  }
}

/**
 * A table may have millions of entries, and be garbage: nothing is made for an entry that is right, and after so many
 * wrong ones the rest is not looked at.
 * @returns where everything but the trailing footer ends
 */
function checkTable(list: FindingList, store: ByteStore, footer: VhdFooter, header: DynamicHeader): number {
  const { bitmapBytes, blockSizeBytes, tableOffset } = header;
  const entries = readTable(store, header);
  const fileSize = store.size();
  const blocks = Math.ceil(footer.sizeBytes / blockSizeBytes);
  const stride = bitmapBytes + blockSizeBytes;
  const lastBytes = bitmapBytes + footer.sizeBytes - (blocks - 1) * blockSizeBytes;
  const structures = structuresOf(header, 'used');
  const structuresEnd = Math.max(...structures.map(({ fileOffset, length }) => fileOffset + length));
  let wrongEntries = 0;
  const wrong = (code: 'bat-entry-offset' | 'bat-entry-beyond-end' | 'bat-entry-overlap', block: number): void => {
    wrongEntries++;
    list.add({
      code,
      severity: 'error',
      offsetBytes: tableOffset + block * BAT_ENTRY_BYTES,
      message: corruptionText(code),
      value: entries[block] ?? 0,
      repair: 'impossible',
    });
  };
  const sound = new Uint32Array(entries.length);
  let soundCount = 0;
  let last = 0;
  for (let block = 0; block < entries.length && wrongEntries < MAX_WRONG_ENTRIES; block++) {
    const entry = entries[block] as number; // the index is in range
    if (entry === UNUSED_ENTRY) continue;
    const start = entry * SECTOR;
    const end = start + (block === blocks - 1 ? lastBytes : stride);
    last = Math.max(last, start + stride);
    const overlaps = ({ fileOffset, length }: FileSpan): boolean => start < fileOffset + length && fileOffset < end;
    if (end > fileSize) wrong('bat-entry-beyond-end', block);
    else if (start < structuresEnd && structures.some(overlaps)) wrong('bat-entry-offset', block);
    else sound[soundCount++] = entry;
    if (block >= blocks) {
      const message = 'a block behind the end of the disk holds space';
      list.add({ ...info('bat-entry-unused-block', tableOffset + block * BAT_ENTRY_BYTES, message), value: entry });
    }
  }
  const sorted = sound.subarray(0, soundCount).sort();
  const overlapping = overlappingEntries(sorted, (entry) => (entry === entries[blocks - 1] ? lastBytes : stride));
  const seen = new Set<number>();
  for (let block = 0; overlapping.size > 0 && block < entries.length; block++) {
    const entry = entries[block] as number; // the index is in range
    const kind = overlapping.get(entry);
    // Of two entries for one place the first may be right.
    if (kind === 'inside' || (kind === 'twice' && seen.has(entry))) wrong('bat-entry-overlap', block);
    if (kind === 'twice') seen.add(entry);
  }
  return Math.max(...structuresOf(header).map(({ fileOffset, length }) => fileOffset + length), last);
}

/** The entries that begin inside of what another one points at, or that occur twice. */
function overlappingEntries(
  sorted: Uint32Array,
  lengthOf: (entry: number) => number,
): ReadonlyMap<number, 'inside' | 'twice'> {
  const found = new Map<number, 'inside' | 'twice'>();
  let end = 0;
  for (let index = 0; index < sorted.length && found.size < MAX_WRONG_ENTRIES; index++) {
    const entry = sorted[index] as number; // the index is in range
    if (entry * SECTOR < end && !found.has(entry)) found.set(entry, entry === sorted[index - 1] ? 'twice' : 'inside');
    end = Math.max(end, entry * SECTOR + lengthOf(entry));
  }
  return found;
}

function warning(code: string, offsetBytes: number, message: string): CheckFinding {
  return { code, severity: 'warning', offsetBytes, message, repair: 'impossible' };
}

function info(code: string, offsetBytes: number, message: string): CheckFinding {
  return { code, severity: 'info', offsetBytes, message, repair: 'not-needed' };
}
