import { isHvError } from '../../errors/index.ts';
import { GPT_PRIMARY_LBA, type Gpt, type GptCopy, type GptRead, gptOf, readGptCopy } from '../../formats/gpt/index.ts';
import {
  isExtended,
  isPartitionTable,
  MBR_SIZE,
  MBR_TYPE_GPT_PROTECTIVE,
  type Mbr,
  parseMbr,
  readLogicalPartitions,
} from '../../formats/mbr/index.ts';
import type { BlockDevice } from '../block-device.ts';

/** A part of the disk that a partition table names. */
export interface Partition {
  readonly offset: number;
  readonly sizeBytes: number;
  /** Of a GPT: the type's GUID. Of an MBR: the type's number in two hexadecimal digits. */
  readonly type: string;
}

/** How a disk is divided. */
export type PartitionTable =
  | { readonly kind: 'none' }
  | { readonly kind: 'mbr'; readonly partitions: readonly Partition[] }
  | {
      readonly kind: 'gpt';
      readonly partitions: readonly Partition[];
      /** The primary copy where it is whole, else the one at the end. */
      readonly copy: GptCopy;
      readonly gpt: Gpt;
    };

type Readable = Pick<BlockDevice, 'sizeBytes' | 'logicalSectorSizeBytes' | 'read'>;

/** Bytes of a device for the parsers; what lies beyond its end reads as zero. */
export function readerOf(device: Readable): GptRead {
  return (offset, length) => {
    const bytes = new Uint8Array(length);
    const inside = Math.max(0, Math.min(length, device.sizeBytes - offset));
    if (inside > 0) device.read(offset, bytes, 0, inside);
    return bytes;
  };
}

/**
 * Reads the partition table of a disk, logical partitions included. A boot sector whose records make no sense as
 * partitions of this disk (a file system's own boot sector has text there) counts as no table.
 * @throws HvError `corrupt`: the disk is said to have a GUID partition table, and neither copy of it is whole; or a chain
 *   of logical partitions is broken
 */
export function readPartitionTable(device: Readable): PartitionTable {
  const sector = device.logicalSectorSizeBytes;
  const read = readerOf(device);
  const mbr = mbrOf(read, Math.floor(device.sizeBytes / sector));
  if (!mbr) return { kind: 'none' };
  if (mbr.partitions.some(({ type }) => type === MBR_TYPE_GPT_PROTECTIVE)) {
    const copy = readEitherCopy(read, device.sizeBytes, sector);
    const gpt = gptOf(copy);
    return {
      kind: 'gpt',
      copy,
      gpt,
      partitions: gpt.partitions.map(({ firstSector, lastSector, typeId }) => ({
        offset: firstSector * sector,
        sizeBytes: Math.max(0, lastSector - firstSector + 1) * sector,
        type: typeId,
      })),
    };
  }
  const flat = mbr.partitions.flatMap((partition) =>
    isExtended(partition)
      ? [partition, ...readLogicalPartitions((at) => read(at * sector, MBR_SIZE), partition)]
      : [partition],
  );
  return {
    kind: 'mbr',
    partitions: flat.map(({ startSector, sizeSectors, type }) => ({
      offset: startSector * sector,
      sizeBytes: sizeSectors * sector,
      type: type.toString(16).padStart(2, '0'),
    })),
  };
}

function mbrOf(read: GptRead, diskSectors: number): Mbr | undefined {
  try {
    const sector = read(0, MBR_SIZE);
    const mbr = parseMbr(sector);
    const isProtective = mbr.partitions.some(({ type }) => type === MBR_TYPE_GPT_PROTECTIVE);
    return isProtective || isPartitionTable(sector, diskSectors) ? mbr : undefined;
  } catch (error) {
    if (isHvError(error, 'corrupt')) return undefined; // No signature: no boot sector.
    throw error;
  }
}

/** The copy at the front; where it is damaged, the one at the end. @throws HvError `corrupt` as the first copy was */
function readEitherCopy(read: GptRead, sizeBytes: number, sector: number): GptCopy {
  try {
    return readGptCopy(read, GPT_PRIMARY_LBA, sector);
  } catch (error) {
    if (!isHvError(error, 'corrupt')) throw error;
    try {
      return readGptCopy(read, Math.floor(sizeBytes / sector) - 1, sector);
    } catch (second) {
      if (!isHvError(second, 'corrupt')) throw second;
      throw error;
    }
  }
}
