import { crc32, readGuid, writeGuid } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import { protectiveMbr } from '../mbr/index.ts';
import {
  GPT_ENTRY,
  GPT_ENTRY_COUNT,
  GPT_ENTRY_SIZE,
  GPT_HEADER,
  GPT_HEADER_SIZE,
  GPT_NAME_UNITS,
  GPT_PRIMARY_LBA,
  GPT_REVISION,
  GPT_SIGNATURE,
  GPT_TYPE,
} from './format.ts';
import { type GptCopy, type GptRead, readGptCopy, sectorNumber } from './gpt-copy.ts';

export interface GptPartition {
  /** GUID in the usual text form, lower case. */
  readonly typeId: string;
  readonly partitionId: string;
  readonly firstSector: number;
  readonly lastSector: number;
  /** At most 36 UTF-16 units. */
  readonly name: string;
  /** Bit 0 required, bit 2 legacy BIOS bootable; 48 to 63 belong to the type. */
  readonly attributes?: bigint;
}

export interface GptSpec {
  readonly diskId: string;
  readonly diskSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly partitions: readonly GptPartition[];
  /** At most 440 bytes for the protective MBR, for a disk that a BIOS boots too. */
  readonly bootCode?: Uint8Array;
}

export interface Gpt {
  readonly diskId: string;
  readonly firstUsableSector: number;
  readonly lastUsableSector: number;
  readonly partitions: readonly Required<GptPartition>[];
}

/** Bytes and the place on the disk where they belong. */
export interface GptRegion {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** The sectors that partitions may use: between the two copies of the table. */
export function gptUsableSectors(diskSizeBytes: number, sectorSizeBytes: number): { first: number; last: number } {
  const tableSectors = Math.ceil((GPT_ENTRY_COUNT * GPT_ENTRY_SIZE) / sectorSizeBytes);
  const sectors = Math.floor(diskSizeBytes / sectorSizeBytes);
  return { first: GPT_PRIMARY_LBA + 1 + tableSectors, last: sectors - tableSectors - 2 };
}

/**
 * Makes everything that a GPT disk holds outside of its partitions: the front (protective MBR, header, table) and the
 * back (table, header).
 * @throws HvError `invalid-argument`: partitions overlap, leave the usable range, or have an illegal name or id
 */
export function encodeGpt(spec: GptSpec): readonly GptRegion[] {
  const { sectorSizeBytes } = spec;
  const sectors = Math.floor(spec.diskSizeBytes / sectorSizeBytes);
  const usable = gptUsableSectors(spec.diskSizeBytes, sectorSizeBytes);
  checkPartitions(spec.partitions, usable);

  const table = new Uint8Array(GPT_ENTRY_COUNT * GPT_ENTRY_SIZE);
  spec.partitions.forEach((partition, index) => {
    encodeEntry(table, index * GPT_ENTRY_SIZE, partition);
  });
  const tableSectors = Math.ceil(table.length / sectorSizeBytes);
  const header = (myLba: number, alternateLba: number, tableLba: number): Uint8Array => {
    const bytes = new Uint8Array(sectorSizeBytes);
    const view = new DataView(bytes.buffer);
    bytes.set(new TextEncoder().encode(GPT_SIGNATURE), GPT_HEADER.signature);
    view.setUint32(GPT_HEADER.revision, GPT_REVISION, true);
    view.setUint32(GPT_HEADER.headerSize, GPT_HEADER_SIZE, true);
    view.setBigUint64(GPT_HEADER.myLba, BigInt(myLba), true);
    view.setBigUint64(GPT_HEADER.alternateLba, BigInt(alternateLba), true);
    view.setBigUint64(GPT_HEADER.firstUsableLba, BigInt(usable.first), true);
    view.setBigUint64(GPT_HEADER.lastUsableLba, BigInt(usable.last), true);
    writeGuid(bytes, GPT_HEADER.diskId, spec.diskId);
    view.setBigUint64(GPT_HEADER.tableLba, BigInt(tableLba), true);
    view.setUint32(GPT_HEADER.entryCount, GPT_ENTRY_COUNT, true);
    view.setUint32(GPT_HEADER.entrySize, GPT_ENTRY_SIZE, true);
    view.setUint32(GPT_HEADER.tableCrc, crc32(table), true);
    view.setUint32(GPT_HEADER.headerCrc, crc32(bytes.subarray(0, GPT_HEADER_SIZE)), true);
    return bytes;
  };

  const front = new Uint8Array((GPT_PRIMARY_LBA + 1 + tableSectors) * sectorSizeBytes);
  front.set(protectiveMbr(sectors, spec.bootCode));
  front.set(header(GPT_PRIMARY_LBA, sectors - 1, GPT_PRIMARY_LBA + 1), GPT_PRIMARY_LBA * sectorSizeBytes);
  front.set(table, (GPT_PRIMARY_LBA + 1) * sectorSizeBytes);

  const back = new Uint8Array((tableSectors + 1) * sectorSizeBytes);
  back.set(table);
  back.set(header(sectors - 1, GPT_PRIMARY_LBA, sectors - 1 - tableSectors), tableSectors * sectorSizeBytes);
  return [
    { offset: 0, bytes: front },
    { offset: (sectors - 1 - tableSectors) * sectorSizeBytes, bytes: back },
  ];
}

/**
 * Reads the table at the front of a disk. `read` is asked for the header's sector, then for the table, at most 1 MiB.
 * @throws HvError `corrupt`, its detail naming the reason; and what `read` throws
 */
export function parseGpt(read: GptRead, sectorSizeBytes: number): Gpt {
  return gptOf(readGptCopy(read, GPT_PRIMARY_LBA, sectorSizeBytes));
}

/** What a copy of the table says. @throws HvError `corrupt`: a partition lies beyond every disk */
export function gptOf(copy: GptCopy): Gpt {
  const { header, table, entrySize } = copy;
  const view = new DataView(table.buffer, table.byteOffset, table.length);
  const partitions: Required<GptPartition>[] = [];
  for (let at = 0; at < table.length; at += entrySize) {
    const typeId = readGuid(table, at + GPT_ENTRY.typeId);
    if (typeId === GPT_TYPE.unused) continue;
    partitions.push({
      typeId,
      partitionId: readGuid(table, at + GPT_ENTRY.partitionId),
      firstSector: sectorNumber(view.getBigUint64(at + GPT_ENTRY.firstLba, true), 'gpt-partition-place'),
      lastSector: sectorNumber(view.getBigUint64(at + GPT_ENTRY.lastLba, true), 'gpt-partition-place'),
      attributes: view.getBigUint64(at + GPT_ENTRY.attributes, true),
      name: readName(view, at + GPT_ENTRY.name),
    });
  }
  return {
    diskId: readGuid(header, GPT_HEADER.diskId),
    firstUsableSector: copy.firstUsableLba,
    lastUsableSector: copy.lastUsableLba,
    partitions,
  };
}

function checkPartitions(partitions: readonly GptPartition[], usable: { first: number; last: number }): void {
  const fail = (what: string, index: number): never => {
    throw new HvError('invalid-argument', `partition ${index + 1} ${what}`, { detail: { partition: index + 1 } });
  };
  if (partitions.length > GPT_ENTRY_COUNT) fail(`is one too many: the table holds ${GPT_ENTRY_COUNT}`, GPT_ENTRY_COUNT);
  partitions.forEach((partition, index) => {
    if (partition.firstSector < usable.first || partition.lastSector > usable.last) {
      fail(`lies outside of the usable sectors ${usable.first} to ${usable.last}`, index);
    }
    if (partition.lastSector < partition.firstSector) fail('ends before it starts', index);
    if (partition.name.length > GPT_NAME_UNITS) fail(`has a name of over ${GPT_NAME_UNITS} units`, index);
    const overlaps = partitions.some(
      (other, at) =>
        at < index && other.firstSector <= partition.lastSector && partition.firstSector <= other.lastSector,
    );
    if (overlaps) fail('overlaps another one', index);
  });
}

function encodeEntry(table: Uint8Array, at: number, partition: GptPartition): void {
  const view = new DataView(table.buffer);
  writeGuid(table, at + GPT_ENTRY.typeId, partition.typeId);
  writeGuid(table, at + GPT_ENTRY.partitionId, partition.partitionId);
  view.setBigUint64(at + GPT_ENTRY.firstLba, BigInt(partition.firstSector), true);
  view.setBigUint64(at + GPT_ENTRY.lastLba, BigInt(partition.lastSector), true);
  view.setBigUint64(at + GPT_ENTRY.attributes, partition.attributes ?? 0n, true);
  for (let unit = 0; unit < partition.name.length; unit++) {
    view.setUint16(at + GPT_ENTRY.name + unit * 2, partition.name.charCodeAt(unit), true);
  }
}

function readName(view: DataView, at: number): string {
  let name = '';
  for (let unit = 0; unit < GPT_NAME_UNITS; unit++) {
    const code = view.getUint16(at + unit * 2, true);
    if (code === 0) break;
    name += String.fromCharCode(code);
  }
  return name;
}
