import {
  cutTo,
  type DataIn,
  invalidField,
  invalidParameter,
  type LogicalUnit,
  NO_DATA,
  parameterListLengthError,
  type Request,
  takeDataOut,
} from './command.ts';
import { CheckCondition, type SenseFormat } from './sense.ts';
import { Asc, Opcode, SenseKey } from './wire.ts';

const PAGE = { errorRecovery: 0x01, caching: 0x08, control: 0x0a, all: 0x3f } as const;
const CONTROL_OF = { current: 0, changeable: 1, default: 2, saved: 3 } as const;
const ALL_SUBPAGES = 0xff;
const WCE = 0x04;
const D_SENSE = 0x04;
/** QUEUE ALGORITHM MODIFIER 1: commands may be put in another order. */
const UNRESTRICTED_REORDERING = 0x10;
const WRITE_PROTECT = 0x80;
const DPOFUA = 0x10;

/** MODE SENSE(6) and (10) (SPC-4, 6.11 and 6.12). Nothing can be changed; what is current is the default. */
export function modeSense({ unit, cdb }: Request): DataIn {
  const isShort = cdb.readUInt8(0) === Opcode.modeSense6;
  const pageControl = cdb.readUInt8(2) >> 6;
  const page = cdb.readUInt8(2) & 0x3f;
  const subpage = cdb.readUInt8(3);
  if (subpage !== 0 && subpage !== ALL_SUBPAGES) throw invalidField(3);
  if (pageControl === CONTROL_OF.saved) {
    throw new CheckCondition(SenseKey.illegalRequest, Asc.savingParametersNotSupported);
  }
  const pages = pagesOf(page, unit.senseFormat, pageControl === CONTROL_OF.changeable);
  if (!pages) throw invalidField(2, 5);
  const hasDescriptor = (cdb.readUInt8(1) & 0x08) === 0;
  const isLong = !isShort && (cdb.readUInt8(1) & 0x10) !== 0;
  const descriptor = hasDescriptor ? blockDescriptor(unit, isLong) : Buffer.alloc(0);
  const head = modeHeader(unit, { isShort, isLong, descriptor, pageBytes: pages.length });
  return cutTo(Buffer.concat([head, descriptor, pages]), isShort ? cdb.readUInt8(4) : cdb.readUInt16BE(7));
}

function modeHeader(
  unit: LogicalUnit,
  what: { isShort: boolean; isLong: boolean; descriptor: Buffer; pageBytes: number },
): Buffer {
  const { isShort, isLong, descriptor, pageBytes } = what;
  const parameters = DPOFUA | (unit.isWriteProtected ? WRITE_PROTECT : 0);
  const behindLength = descriptor.length + pageBytes;
  if (isShort) return Buffer.from([3 + behindLength, 0, parameters, descriptor.length]);
  const head = Buffer.alloc(8);
  head.writeUInt16BE(6 + behindLength, 0);
  head[3] = parameters;
  head[4] = isLong ? 0x01 : 0;
  head.writeUInt16BE(descriptor.length, 6);
  return head;
}

/** SBC-3, 6.4.2: the short one counts in four bytes and gives up with the largest number. */
function blockDescriptor({ blockCount, blockBytes }: LogicalUnit, isLong: boolean): Buffer {
  if (isLong) {
    const descriptor = Buffer.alloc(16);
    descriptor.writeBigUInt64BE(BigInt(blockCount), 0);
    descriptor.writeUInt32BE(blockBytes, 12);
    return descriptor;
  }
  const descriptor = Buffer.alloc(8);
  descriptor.writeUInt32BE(Math.min(blockCount, 0xffff_ffff), 0);
  descriptor.writeUIntBE(blockBytes, 5, 3);
  return descriptor;
}

function pagesOf(page: number, senseFormat: SenseFormat, isMask: boolean): Buffer | undefined {
  const known: readonly (readonly [code: number, body: Buffer])[] = [
    [PAGE.errorRecovery, Buffer.alloc(10)],
    [PAGE.caching, withBytes(18, { 0: WCE })],
    [PAGE.control, withBytes(10, { 0: senseFormat === 'descriptor' ? D_SENSE : 0, 1: UNRESTRICTED_REORDERING })],
  ];
  const asked = known.filter(([code]) => page === PAGE.all || page === code);
  if (asked.length === 0) return undefined;
  return Buffer.concat(
    asked.flatMap(([code, body]) => [Buffer.from([code, body.length]), isMask ? Buffer.alloc(body.length) : body]),
  );
}

function withBytes(length: number, values: Readonly<Record<number, number>>): Buffer {
  const bytes = Buffer.alloc(length);
  for (const [at, value] of Object.entries(values)) bytes[Number(at)] = value;
  return bytes;
}

/**
 * MODE SELECT(6) and (10) (SPC-4, 6.9 and 6.10): takes what is so already, refuses every change. Some drivers send back
 * what they have read.
 */
export function modeSelect(request: Request): DataIn {
  const { unit, cdb } = request;
  const isShort = cdb.readUInt8(0) === Opcode.modeSelect6;
  const flags = cdb.readUInt8(1);
  if ((flags & 0x01) !== 0) throw invalidField(1, 0); // SP: there is nowhere to save pages
  const length = isShort ? cdb.readUInt8(4) : cdb.readUInt16BE(7);
  if (length === 0) return NO_DATA;
  if ((flags & 0x10) === 0) throw invalidField(1, 4); // PF: pages of the vendor's own form
  const list = Buffer.from(takeDataOut(request, length));
  const headBytes = isShort ? 4 : 8;
  if (list.length < headBytes) throw parameterListLengthError();
  const isLong = !isShort && (list.readUInt8(4) & 0x01) !== 0;
  const descriptorBytes = isShort ? list.readUInt8(3) : list.readUInt16BE(6);
  if (list.length < headBytes + descriptorBytes) throw parameterListLengthError();
  if (descriptorBytes > 0) {
    const given = list.subarray(headBytes, headBytes + descriptorBytes);
    if (!given.equals(blockDescriptor(unit, isLong))) throw invalidParameter(isShort ? 3 : 6);
  }
  for (let at = headBytes + descriptorBytes; at < list.length; ) {
    const code = list.readUInt8(at) & 0x3f;
    // 3Fh means every page only when it is asked for.
    const current = code === PAGE.all ? undefined : pagesOf(code, unit.senseFormat, false);
    if (!current || (list.readUInt8(at) & 0x40) !== 0) throw invalidParameter(at);
    if (list.length < at + current.length) throw parameterListLengthError();
    const differs = current.findIndex((byte, index) => index > 0 && list[at + index] !== byte);
    if (differs !== -1) throw invalidParameter(at + differs);
    at += current.length;
  }
  return NO_DATA;
}
