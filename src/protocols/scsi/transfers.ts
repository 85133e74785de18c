import {
  type DataIn,
  invalidField,
  type LogicalUnit,
  mustContain,
  NO_DATA,
  type Request,
  readUInt64,
  takeDataOut,
} from './command.ts';
import { maxTransferBlocks } from './limits.ts';
import { CheckCondition } from './sense.ts';
import { Asc, cdbLength, SenseKey } from './wire.ts';

export interface BlockRange {
  readonly lba: number;
  readonly count: number;
  /** Where the CDB says how many. */
  readonly countByte: number;
}

const FUA = 0x08;
const COMPARE_CHUNK_BYTES = 2 ** 20;

/** The logical block address and the number of blocks of a CDB, by its length (SBC-3, 5). */
export function blockRange(cdb: Buffer): BlockRange {
  switch (cdbLength(cdb.readUInt8(0))) {
    case 6:
      // Nobody would move nothing with the oldest CDB: 0 means 256.
      return { lba: cdb.readUIntBE(1, 3) & 0x1f_ffff, count: cdb.readUInt8(4) || 256, countByte: 4 };
    case 10:
      return { lba: cdb.readUInt32BE(2), count: cdb.readUInt16BE(7), countByte: 7 };
    case 12:
      return { lba: cdb.readUInt32BE(2), count: cdb.readUInt32BE(6), countByte: 6 };
    default:
      return { lba: readUInt64(cdb, 2), count: cdb.readUInt32BE(10), countByte: 10 };
  }
}

/** The range of a transfer, checked, in bytes. */
function transferRange({ unit, cdb }: Request): { readonly offset: number; readonly length: number } {
  const { lba, count, countByte } = blockRange(cdb);
  mustContain(unit, lba, count);
  if (count > maxTransferBlocks(unit)) throw invalidField(countByte);
  return { offset: lba * unit.blockBytes, length: count * unit.blockBytes };
}

/** RDPROTECT, WRPROTECT, VRPROTECT: the disk keeps no protection information (SBC-3, 4.22). The oldest CDBs lack the field. */
function refuseProtection(cdb: Buffer): void {
  if (cdbLength(cdb.readUInt8(0)) !== 6 && cdb.readUInt8(1) >> 5 !== 0) throw invalidField(1, 7);
}

function wantsFua(cdb: Buffer): boolean {
  return cdbLength(cdb.readUInt8(0)) !== 6 && (cdb.readUInt8(1) & FUA) !== 0;
}

export function read(request: Request): DataIn {
  refuseProtection(request.cdb);
  const { offset, length } = transferRange(request);
  const data = Buffer.allocUnsafe(length);
  if (length > 0) request.unit.device.read(offset, data, 0, length);
  return data;
}

export async function write(request: Request): Promise<DataIn> {
  const { unit, cdb } = request;
  refuseProtection(cdb);
  const { offset, length } = transferRange(request);
  const data = takeDataOut(request, length);
  if (length > 0) unit.device.write(offset, data, 0, length);
  if (length > 0 && wantsFua(cdb)) await unit.device.flush();
  return NO_DATA;
}

const BYTCHK = { none: 0, compare: 1, reserved: 2, compareOneBlock: 3 } as const;

/** VERIFY (SBC-3, 5.29): reads the medium; with BYTCHK compares it with what came. */
export function verify(request: Request): DataIn {
  const { unit, cdb } = request;
  refuseProtection(cdb);
  const byteCheck = (cdb.readUInt8(1) >> 1) & 0x03;
  if (byteCheck === BYTCHK.reserved) throw invalidField(1, 2);
  const { offset, length } = transferRange(request);
  if (length === 0) return NO_DATA;
  if (byteCheck === BYTCHK.none) compare(unit, offset, length, undefined);
  else compare(unit, offset, length, takeDataOut(request, byteCheck === BYTCHK.compare ? length : unit.blockBytes));
  return NO_DATA;
}

/** WRITE AND VERIFY (SBC-3, 5.38): written, on the medium, and read again. */
export async function writeAndVerify(request: Request): Promise<DataIn> {
  const { unit, cdb } = request;
  refuseProtection(cdb);
  const byteCheck = (cdb.readUInt8(1) >> 1) & 0x03;
  if (byteCheck > BYTCHK.compare) throw invalidField(1, 2);
  const { offset, length } = transferRange(request);
  const data = takeDataOut(request, length);
  if (length === 0) return NO_DATA;
  unit.device.write(offset, data, 0, length);
  await unit.device.flush();
  compare(unit, offset, length, byteCheck === BYTCHK.compare ? data : undefined);
  return NO_DATA;
}

/** Reads the range and compares it with `expected`, which repeats where it is shorter. */
function compare(unit: LogicalUnit, offset: number, length: number, expected: Uint8Array | undefined): void {
  const chunk = Buffer.allocUnsafe(Math.min(length, COMPARE_CHUNK_BYTES));
  for (let done = 0; done < length; done += chunk.length) {
    const size = Math.min(chunk.length, length - done);
    unit.device.read(offset + done, chunk, 0, size);
    if (!expected) continue;
    for (let at = 0; at < size; at += unit.blockBytes) {
      const from = (done + at) % expected.length;
      const wanted = expected.subarray(from, from + unit.blockBytes);
      if (chunk.compare(wanted, 0, unit.blockBytes, at, at + unit.blockBytes) === 0) continue;
      // The first byte that differs, counted from the start of what was to be compared.
      const differs = wanted.findIndex((byte, index) => byte !== chunk[at + index]);
      throw new CheckCondition(SenseKey.miscompare, Asc.miscompareDuringVerify, { information: done + at + differs });
    }
  }
}

/** SYNCHRONIZE CACHE (SBC-3, 5.25): the range is looked at, and everything is made durable, also when IMMED asks to hurry. */
export async function synchronizeCache({ unit, cdb }: Request): Promise<DataIn> {
  const { lba, count } = blockRange(cdb);
  mustContain(unit, lba, count);
  if (!unit.device.readOnly) await unit.device.flush();
  return NO_DATA;
}
