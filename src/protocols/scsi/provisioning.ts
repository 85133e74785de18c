import type { Extent } from '../../disk/block-device.ts';
import {
  cutTo,
  type DataIn,
  invalidField,
  invalidParameter,
  type LogicalUnit,
  mustContain,
  NO_DATA,
  parameterListLengthError,
  type Request,
  readUInt64,
  takeDataOut,
} from './command.ts';
import { MAX_UNMAP_DESCRIPTORS, maxWriteSameBlocks } from './limits.ts';
import { blockRange } from './transfers.ts';
import { Opcode } from './wire.ts';

const UNMAP_HEAD_BYTES = 8;
const DESCRIPTOR_BYTES = 16;

/** UNMAP (SBC-3, 5.28): a hint; every descriptor is checked before the first one counts. */
export function unmap(request: Request): DataIn {
  const { unit, cdb } = request;
  if ((cdb.readUInt8(1) & 0x01) !== 0) throw invalidField(1, 0); // ANCHOR
  const length = cdb.readUInt16BE(7);
  if (length === 0) return NO_DATA;
  const list = Buffer.from(takeDataOut(request, length));
  if (list.length < UNMAP_HEAD_BYTES) throw parameterListLengthError();
  const descriptorBytes = list.readUInt16BE(2);
  if (descriptorBytes > list.length - UNMAP_HEAD_BYTES) throw parameterListLengthError();
  // A last one that is cut off does not count.
  const count = Math.floor(descriptorBytes / DESCRIPTOR_BYTES);
  if (count > MAX_UNMAP_DESCRIPTORS) throw invalidParameter(2);
  const ranges = Array.from({ length: count }, (_, index) => {
    const at = UNMAP_HEAD_BYTES + index * DESCRIPTOR_BYTES;
    return { lba: readUInt64(list, at), count: list.readUInt32BE(at + 8) };
  }).filter((range) => range.count > 0);
  for (const range of ranges) mustContain(unit, range.lba, range.count);
  for (const range of ranges) unit.device.trim(range.lba * unit.blockBytes, range.count * unit.blockBytes);
  return NO_DATA;
}

const WRITE_SAME = { anchor: 0x10, unmap: 0x08, physical: 0x04, logical: 0x02, noDataOut: 0x01 } as const;
const PATTERN_CHUNK_BYTES = 2 ** 20;

/** WRITE SAME(10) and (16) (SBC-3, 5.42 and 5.43). */
export function writeSame(request: Request): DataIn {
  const { unit, cdb } = request;
  const flags = cdb.readUInt8(1);
  const isLong = cdb.readUInt8(0) === Opcode.writeSame16;
  if (flags >> 5 !== 0) throw invalidField(1, 7);
  if ((flags & WRITE_SAME.anchor) !== 0) throw invalidField(1, 4);
  if ((flags & (WRITE_SAME.physical | WRITE_SAME.logical)) !== 0) throw invalidField(1, 2);
  if (!isLong && (flags & WRITE_SAME.noDataOut) !== 0) throw invalidField(1, 0);
  if ((flags & WRITE_SAME.unmap) !== 0 && !unit.identity.isThin) throw invalidField(1, 3);
  const { lba, count: given, countByte } = blockRange(cdb);
  mustContain(unit, lba, given);
  // None is named: to the end (WSNZ is 0 in page B0h).
  const count = given === 0 ? unit.blockCount - lba : given;
  if (count > maxWriteSameBlocks(unit)) throw invalidField(countByte);
  const block = (flags & WRITE_SAME.noDataOut) !== 0 ? undefined : takeDataOut(request, unit.blockBytes);
  const offset = lba * unit.blockBytes;
  const length = count * unit.blockBytes;
  if (!block || block.every((byte) => byte === 0)) {
    unit.device.writeZeroes(offset, length, (flags & WRITE_SAME.unmap) !== 0);
    return NO_DATA;
  }
  const pattern = Buffer.alloc(Math.min(length, PATTERN_CHUNK_BYTES));
  for (let at = 0; at < pattern.length; at += block.length) pattern.set(block, at);
  for (let done = 0; done < length; done += pattern.length) {
    unit.device.write(offset + done, pattern, 0, Math.min(pattern.length, length - done));
  }
  return NO_DATA;
}

const LBA_STATUS_HEAD_BYTES = 8;
const MAPPED = 0;
const DEALLOCATED = 1;
/** The most that one answer tells; whoever wants more asks again from there. */
const MAX_STATUS_DESCRIPTORS = 4096;
const MAX_STATUS_BLOCKS = 0xffff_ffff;

interface LbaStatus {
  readonly lba: number;
  count: number;
  readonly status: number;
}

/** GET LBA STATUS (SBC-3, 5.7). What reads as zeros without holding data is deallocated. */
export function getLbaStatus({ unit, cdb }: Request): DataIn {
  const lba = readUInt64(cdb, 2);
  mustContain(unit, lba, 1);
  const allocationLength = cdb.readUInt32BE(10);
  // One at least, whatever the buffer takes: the list's length says what there is.
  const most = Math.max(1, Math.min(MAX_STATUS_DESCRIPTORS, Math.floor((allocationLength - 8) / DESCRIPTOR_BYTES)));
  const found = lbaStatuses(unit, lba, most);
  const data = Buffer.alloc(LBA_STATUS_HEAD_BYTES + found.length * DESCRIPTOR_BYTES);
  data.writeUInt32BE(data.length - 4, 0);
  found.forEach((status, index) => {
    const at = LBA_STATUS_HEAD_BYTES + index * DESCRIPTOR_BYTES;
    data.writeBigUInt64BE(BigInt(status.lba), at);
    data.writeUInt32BE(status.count, at + 8);
    data[at + 12] = status.status;
  });
  return cutTo(data, allocationLength);
}

function lbaStatuses(unit: LogicalUnit, lba: number, most: number): LbaStatus[] {
  const found: LbaStatus[] = [];
  const { blockBytes, blockCount, device } = unit;
  let at = lba;
  const add = (end: number, status: number): boolean => {
    while (at < end) {
      const last = found.at(-1);
      const room = last?.status === status ? MAX_STATUS_BLOCKS - last.count : 0;
      const count = Math.min(end - at, room > 0 ? room : MAX_STATUS_BLOCKS);
      if (last && room > 0) last.count += count;
      else if (found.length === most) return false;
      else found.push({ lba: at, count, status });
      at += count;
    }
    return true;
  };
  for (const extent of device.extents(lba * blockBytes, (blockCount - lba) * blockBytes)) {
    const end = (extent.offset + extent.length) / blockBytes;
    // A block that holds data anywhere is mapped: data ends at the block's end, holes at the last whole block.
    const goesOn = statusOf(extent) === MAPPED ? add(Math.ceil(end), MAPPED) : add(Math.floor(end), DEALLOCATED);
    if (!goesOn) break;
  }
  if (found.length === 0) add(lba + 1, MAPPED);
  return found;
}

function statusOf({ kind }: Extent): number {
  return kind === 'data' ? MAPPED : DEALLOCATED;
}
