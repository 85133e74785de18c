import { crc32c, readGuid, safeNumber, writeGuid } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import { corrupt } from './corruption.ts';
import {
  BAT_REGION,
  FIRST_OBJECT_OFFSET,
  MAX_TABLE_ENTRIES,
  METADATA_REGION,
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
import { hasValidChecksum } from './header.ts';

export interface VhdxRegions {
  readonly bat: VhdxRegion;
  readonly metadata: VhdxRegion;
  /** Every region, the unknown ones too: their space is taken. */
  readonly all: readonly VhdxRegion[];
}

/** Reads the region table (2.2.3) and checks every region against the others and the log. @throws HvError `corrupt`, `unsupported` */
export function readRegions(store: ByteStore, header: VhdxHeader): VhdxRegions {
  for (const at of REGION_TABLE_OFFSETS) {
    const bytes = new Uint8Array(REGION_TABLE_BYTES);
    store.read(at, bytes, 0, bytes.length);
    const view = new DataView(bytes.buffer);
    if (view.getUint32(0, true) === REGION_SIGNATURE && hasValidChecksum(bytes, 4)) {
      return judge(store.name, parse(store.name, bytes, at), header, at);
    }
  }
  throw corrupt(store.name, 'no-valid-region-table', REGION_TABLE_OFFSETS[0], 0);
}

/** The 64 KiB of a region table, its checksum included. */
export function encodeRegionTable(regions: readonly VhdxRegion[]): Uint8Array {
  const bytes = new Uint8Array(REGION_TABLE_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, REGION_SIGNATURE, true);
  view.setUint32(8, regions.length, true);
  regions.forEach((region, index) => {
    const at = REGION_ENTRIES_AT + index * REGION_ENTRY_BYTES;
    writeGuid(bytes, at + REGION_ENTRY_AT.guid, region.guid);
    view.setBigUint64(at + REGION_ENTRY_AT.fileOffset, BigInt(region.fileOffset), true);
    view.setUint32(at + REGION_ENTRY_AT.length, region.length, true);
    view.setUint32(at + REGION_ENTRY_AT.required, region.required ? 1 : 0, true);
  });
  view.setUint32(4, crc32c(bytes), true);
  return bytes;
}

function parse(name: string, bytes: Uint8Array, tableAt: number): VhdxRegion[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = view.getUint32(8, true);
  if (count > MAX_TABLE_ENTRIES) throw corrupt(name, 'region-count', tableAt + 8, count);
  return Array.from({ length: count }, (_, index) => {
    const at = REGION_ENTRIES_AT + index * REGION_ENTRY_BYTES;
    const fileOffset = view.getBigUint64(at + REGION_ENTRY_AT.fileOffset, true);
    const length = view.getUint32(at + REGION_ENTRY_AT.length, true);
    const offset = safeNumber(fileOffset);
    if (
      offset === undefined ||
      offset < FIRST_OBJECT_OFFSET ||
      offset % MIB !== 0 ||
      length === 0 ||
      length % MIB !== 0 ||
      !Number.isSafeInteger(offset + length)
    ) {
      throw corrupt(name, 'region-range', tableAt + at, `${fileOffset}+${length}`);
    }
    return {
      guid: readGuid(bytes, at + REGION_ENTRY_AT.guid),
      fileOffset: offset,
      length,
      // Bit 0 alone is defined; the rest is reserved.
      required: (view.getUint32(at + REGION_ENTRY_AT.required, true) & 1) !== 0,
    };
  });
}

function judge(name: string, regions: readonly VhdxRegion[], header: VhdxHeader, tableAt: number): VhdxRegions {
  const seen = new Set<string>();
  for (const region of regions) {
    if (seen.has(region.guid)) throw corrupt(name, 'region-duplicate', tableAt, region.guid);
    seen.add(region.guid);
    if (region.required && region.guid !== BAT_REGION && region.guid !== METADATA_REGION) {
      throw new HvError('unsupported', `${name} needs a feature that hv does not know (region ${region.guid})`, {
        detail: { path: name, region: region.guid },
      });
    }
  }
  const ranges = [...regions, { guid: 'log', fileOffset: header.logOffset, length: header.logLength }];
  ranges.sort((a, b) => a.fileOffset - b.fileOffset);
  let end = 0;
  for (const range of ranges) {
    if (range.fileOffset < end) throw corrupt(name, 'region-overlap', range.fileOffset, range.guid);
    end = range.fileOffset + range.length;
  }
  const bat = regions.find((region) => region.guid === BAT_REGION);
  const metadata = regions.find((region) => region.guid === METADATA_REGION);
  if (!bat || !metadata) throw corrupt(name, 'region-missing', tableAt, bat ? METADATA_REGION : BAT_REGION);
  return { bat, metadata, all: regions };
}
