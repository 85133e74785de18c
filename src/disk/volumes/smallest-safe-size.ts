import { roundUp } from '../../binary/index.ts';
import { isHvError } from '../../errors/index.ts';
import { gptTableSectors } from '../../formats/gpt/index.ts';
import type { BlockDevice } from '../block-device.ts';
import { identifyVolume } from './identify.ts';
import { type PartitionTable, readerOf, readPartitionTable } from './partitions.ts';

/** How much of the disk is asked for at once when its end is looked for. */
const WINDOW_BYTES = 2 ** 32;
const PIECE_BYTES = 64 * 1024;
const ZEROS = Buffer.alloc(PIECE_BYTES);

/**
 * The size below which a disk must not shrink: the end of its last partition, with room for the second copy of a GUID
 * partition table behind it; on a disk without partitions the size of the file system that fills it; of contents that
 * hv does not know, the end of the last sector that is not zero. Never more than the disk's size; 0 for an empty disk.
 * Windows: GET_VIRTUAL_DISK_INFO_SMALLEST_SAFE_VIRTUAL_SIZE.
 * @throws HvError `io`, `corrupt` (the image, never what lies in it)
 */
export function smallestSafeSize(device: BlockDevice): number {
  const sector = device.logicalSectorSizeBytes;
  const table = tableOf(device);
  const ends = table?.kind === 'gpt' || table?.kind === 'mbr' ? table.partitions : [];
  let needed = ends.reduce((end, { offset, sizeBytes }) => Math.max(end, offset + sizeBytes), 0);
  if (table?.kind === 'gpt') {
    needed = Math.max(needed, table.copy.firstUsableLba * sector) + (gptTableSectors(table.copy) + 1) * sector;
  }
  // A file system may fill the disk and still carry a partition table that someone left in its first sector.
  const whole = identifyVolume({ sizeBytes: device.sizeBytes, read: readerOf(device) });
  if (whole) needed = Math.max(needed, whole.sizeBytes ?? device.sizeBytes);
  if (!table || (table.kind === 'none' && !whole)) needed = endOfData(device);
  return Math.min(device.sizeBytes, roundUp(needed, sector));
}

/** Undefined: there is a table, and it is damaged. */
function tableOf(device: BlockDevice): PartitionTable | undefined {
  try {
    return readPartitionTable(device);
  } catch (error) {
    if (
      isHvError(error, 'corrupt') &&
      typeof error.detail.reason === 'string' &&
      /^(gpt|mbr)-/.test(error.detail.reason)
    )
      return undefined;
    throw error;
  }
}

/** The end of the last piece of 512 bytes that holds anything. */
function endOfData(device: BlockDevice): number {
  for (let end = device.sizeBytes; end > 0; ) {
    const start = Math.max(0, end - WINDOW_BYTES);
    const extents = [...device.extents(start, end - start)].filter(({ kind }) => kind === 'data');
    for (const { offset, length } of extents.reverse()) {
      const found = endOfDataIn(device, offset, offset + length);
      if (found !== undefined) return found;
    }
    end = start;
  }
  return 0;
}

function endOfDataIn(device: BlockDevice, start: number, end: number): number | undefined {
  const buffer = Buffer.alloc(PIECE_BYTES);
  for (let at = end; at > start; ) {
    const length = Math.min(PIECE_BYTES, at - start);
    device.read(at - length, buffer, 0, length);
    if (!buffer.subarray(0, length).equals(ZEROS.subarray(0, length))) {
      let last = length - 1;
      while (buffer[last] === 0) last--;
      return at - length + last + 1;
    }
    at -= length;
  }
  return undefined;
}
