import { crc32 } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import { GPT_ENTRY_SIZE, GPT_HEADER, GPT_HEADER_SIZE, GPT_PRIMARY_LBA, GPT_SIGNATURE } from './format.ts';

const TABLE_LIMIT_BYTES = 1024 * 1024;

/** Gives bytes of a disk; what lies beyond its end reads as zero or fails. */
export type GptRead = (offset: number, length: number) => Uint8Array;

/** One of the two copies of a table, checksums verified, entries not looked at. */
export interface GptCopy {
  readonly sectorSizeBytes: number;
  /** The header's whole sector. */
  readonly header: Uint8Array;
  readonly headerSize: number;
  readonly table: Uint8Array;
  readonly entrySize: number;
  readonly myLba: number;
  readonly alternateLba: number;
  readonly firstUsableLba: number;
  readonly lastUsableLba: number;
  readonly tableLba: number;
}

/**
 * Reads the copy whose header lies in a given sector: 1, or where the other copy says (UEFI 5.3.2). Asks for the
 * header's sector, then for the table, at most 1 MiB.
 * @throws HvError `corrupt`, its detail naming the reason; and what `read` throws
 */
export function readGptCopy(read: GptRead, lba: number, sectorSizeBytes: number): GptCopy {
  const header = read(lba * sectorSizeBytes, sectorSizeBytes);
  const view = new DataView(header.buffer, header.byteOffset, header.length);
  if (!isGptHeader(header)) {
    throw corrupt('gpt-signature', 'the disk has no GUID partition table');
  }
  const headerSize = view.getUint32(GPT_HEADER.headerSize, true);
  if (headerSize < GPT_HEADER_SIZE || headerSize > sectorSizeBytes) {
    throw corrupt('gpt-header-size', 'the partition table gives an impossible size of its header', headerSize);
  }
  if (headerChecksum(header, headerSize) !== view.getUint32(GPT_HEADER.headerCrc, true)) {
    throw corrupt('gpt-header-checksum', "the partition table's header is damaged");
  }
  const entryCount = view.getUint32(GPT_HEADER.entryCount, true);
  const entrySize = view.getUint32(GPT_HEADER.entrySize, true);
  if (entrySize < GPT_ENTRY_SIZE || entrySize % 8 !== 0 || entrySize > 4096) {
    throw corrupt('gpt-entry-size', 'the partition table gives an impossible size of its entries', entrySize);
  }
  if (entryCount * entrySize > TABLE_LIMIT_BYTES) {
    throw corrupt('gpt-entry-count', 'the partition table claims too many entries', entryCount);
  }
  const myLba = sectorNumber(view.getBigUint64(GPT_HEADER.myLba, true), 'gpt-header-place');
  if (myLba !== lba)
    throw corrupt('gpt-header-place', "the partition table's header lies elsewhere than it says", myLba);
  const tableLba = sectorNumber(view.getBigUint64(GPT_HEADER.tableLba, true), 'gpt-table-place');
  const table = read(tableLba * sectorSizeBytes, entryCount * entrySize);
  if (crc32(table) !== view.getUint32(GPT_HEADER.tableCrc, true)) {
    throw corrupt('gpt-table-checksum', 'the partition table is damaged');
  }
  return {
    sectorSizeBytes,
    header,
    headerSize,
    table,
    entrySize,
    myLba,
    alternateLba: sectorNumber(view.getBigUint64(GPT_HEADER.alternateLba, true), 'gpt-header-place'),
    firstUsableLba: sectorNumber(view.getBigUint64(GPT_HEADER.firstUsableLba, true), 'gpt-usable-range'),
    lastUsableLba: sectorNumber(view.getBigUint64(GPT_HEADER.lastUsableLba, true), 'gpt-usable-range'),
    tableLba,
  };
}

/** Whether bytes begin as a header does. */
export function isGptHeader(bytes: Uint8Array): boolean {
  return new TextDecoder('latin1').decode(bytes.subarray(0, 8)) === GPT_SIGNATURE;
}

/** The sectors that a copy's table fills. */
export function gptTableSectors(copy: GptCopy): number {
  return Math.ceil(copy.table.length / copy.sectorSizeBytes);
}

/** Where the parts of a table lie on a disk of another size. */
export interface GptPlacement {
  /** The copy at the end: table, then header. */
  readonly backup: { readonly offset: number; readonly bytes: Uint8Array };
  /** The header of the copy at the front; one sector. */
  readonly primaryHeader: { readonly offset: number; readonly bytes: Uint8Array };
  /** The table of the copy at the front, whole sectors. */
  readonly primaryTable: { readonly offset: number; readonly bytes: Uint8Array };
}

/**
 * The two copies of a table as they must be on a disk of `diskSizeBytes`. Unknown fields and the partitions stay.
 * @throws HvError `invalid-argument`: the disk has no room for the second copy
 */
export function placeGpt(copy: GptCopy, diskSizeBytes: number): GptPlacement {
  const { sectorSizeBytes: sector } = copy;
  const tableSectors = gptTableSectors(copy);
  const lastLba = Math.floor(diskSizeBytes / sector) - 1;
  const backupTableLba = lastLba - tableSectors;
  // A table that has its usual place keeps it; that of a backup goes to where the primary one belongs.
  const primaryTableLba = copy.myLba === GPT_PRIMARY_LBA ? copy.tableLba : GPT_PRIMARY_LBA + 1;
  const primaryEnd = primaryTableLba + tableSectors;
  if (backupTableLba <= copy.firstUsableLba || backupTableLba <= primaryEnd || primaryEnd > copy.firstUsableLba) {
    throw new HvError('invalid-argument', 'the disk would have no room for the second copy of its partition table', {
      detail: { sizeBytes: diskSizeBytes },
    });
  }
  const table = new Uint8Array(tableSectors * sector);
  table.set(copy.table);
  const header = (myLba: number, alternateLba: number, tableLba: number): Uint8Array => {
    const bytes = copy.header.slice();
    const view = new DataView(bytes.buffer);
    view.setBigUint64(GPT_HEADER.myLba, BigInt(myLba), true);
    view.setBigUint64(GPT_HEADER.alternateLba, BigInt(alternateLba), true);
    view.setBigUint64(GPT_HEADER.lastUsableLba, BigInt(backupTableLba - 1), true);
    view.setBigUint64(GPT_HEADER.tableLba, BigInt(tableLba), true);
    view.setUint32(GPT_HEADER.headerCrc, headerChecksum(bytes, copy.headerSize), true);
    return bytes;
  };
  const backup = new Uint8Array((tableSectors + 1) * sector);
  backup.set(table);
  backup.set(header(lastLba, GPT_PRIMARY_LBA, backupTableLba), tableSectors * sector);
  return {
    backup: { offset: backupTableLba * sector, bytes: backup },
    primaryHeader: {
      offset: GPT_PRIMARY_LBA * sector,
      bytes: header(GPT_PRIMARY_LBA, lastLba, primaryTableLba),
    },
    primaryTable: { offset: primaryTableLba * sector, bytes: table },
  };
}

/** Over the header with its checksum's field as zero. */
function headerChecksum(header: Uint8Array, headerSize: number): number {
  const covered = new Uint8Array(header.subarray(0, headerSize));
  covered.fill(0, GPT_HEADER.headerCrc, GPT_HEADER.headerCrc + 4);
  return crc32(covered);
}

/** @throws HvError `corrupt` with the reason given */
export function sectorNumber(value: bigint, reason: string): number {
  // A sector number times 4096 must still be exact.
  if (value > BigInt(Number.MAX_SAFE_INTEGER) / 4096n) {
    throw corrupt(reason, 'the partition table points beyond every disk');
  }
  return Number(value);
}

function corrupt(reason: string, message: string, value?: number): HvError {
  return new HvError('corrupt', message, { detail: { reason, ...(value === undefined ? {} : { value }) } });
}
