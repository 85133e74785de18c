import { cutTo, type DataIn, invalidField, type LogicalUnit, type Request } from './command.ts';
import {
  MAX_UNMAP_BLOCKS,
  MAX_UNMAP_DESCRIPTORS,
  maxTransferBlocks,
  maxWriteSameBlocks,
  OPTIMAL_TRANSFER_BYTES,
  physicalExponent,
} from './limits.ts';

/** As Hyper-V's own disks name themselves: drivers and scripts know these words. */
const VENDOR = 'Msft    ';
const PRODUCT = 'Virtual Disk    ';
const REVISION = '1.0 ';

const SPC_4 = 0x06;
const RESPONSE_DATA_FORMAT = 0x02;
const CMDQUE = 0x02;
/** SAM-4, SPC-4, SBC-3, each without a version claimed (SPC-4, annex D). */
const VERSION_DESCRIPTORS = [0x0080, 0x0460, 0x04c0];
const STANDARD_BYTES = 96;

/** INQUIRY (SPC-4, 6.6). */
export function inquiry({ unit, cdb }: Request): DataIn {
  const isVpd = (cdb.readUInt8(1) & 0x01) !== 0;
  if ((cdb.readUInt8(1) & 0x02) !== 0) throw invalidField(1, 1);
  const page = cdb.readUInt8(2);
  if (!isVpd && page !== 0) throw invalidField(2);
  return cutTo(isVpd ? vitalProductData(unit, page) : standard(), cdb.readUInt16BE(3));
}

function standard(): Buffer {
  const data = Buffer.alloc(STANDARD_BYTES);
  data[2] = SPC_4;
  data[3] = RESPONSE_DATA_FORMAT;
  data[4] = STANDARD_BYTES - 5;
  data[7] = CMDQUE;
  data.write(VENDOR + PRODUCT + REVISION, 8, 'latin1');
  for (const [index, descriptor] of VERSION_DESCRIPTORS.entries()) data.writeUInt16BE(descriptor, 58 + 2 * index);
  return data;
}

const PAGES: ReadonlyMap<number, (unit: LogicalUnit) => Buffer> = new Map([
  [0x00, (unit) => Buffer.from(supportedPages(unit))],
  [0x80, serialNumber],
  [0x83, deviceIdentification],
  [0xb0, blockLimits],
  [0xb1, blockDeviceCharacteristics],
  [0xb2, logicalBlockProvisioning],
]);

function supportedPages(unit: LogicalUnit): number[] {
  return [...PAGES.keys()].filter((page) => page !== 0xb2 || unit.identity.isThin);
}

function vitalProductData(unit: LogicalUnit, page: number): Buffer {
  const make = supportedPages(unit).includes(page) ? PAGES.get(page) : undefined;
  if (!make) throw invalidField(2);
  const body = make(unit);
  const head = Buffer.from([0, page, 0, 0]);
  head.writeUInt16BE(body.length, 2);
  return Buffer.concat([head, body]);
}

function serialNumber({ identity }: LogicalUnit): Buffer {
  return Buffer.from(Buffer.from(identity.id).toString('hex'), 'latin1');
}

const CODE_SET = { binary: 0x01, ascii: 0x02 } as const;
const DESIGNATOR = { t10VendorId: 0x01, naa: 0x03 } as const;
/** NAA 6 (registered extended), then the company id of the disks' vendor, 00-22-48. */
const NAA_START = [0x60, 0x02, 0x24, 0x80];

/** Page 83h: a name in words, and a 16-byte one that software compares (SPC-4, 7.8.6). */
function deviceIdentification(unit: LogicalUnit): Buffer {
  const designator = (codeSet: number, type: number, value: Buffer): Buffer =>
    Buffer.concat([Buffer.from([codeSet, type, 0, value.length]), value]);
  return Buffer.concat([
    designator(
      CODE_SET.ascii,
      DESIGNATOR.t10VendorId,
      Buffer.concat([Buffer.from(VENDOR, 'latin1'), serialNumber(unit)]),
    ),
    designator(
      CODE_SET.binary,
      DESIGNATOR.naa,
      Buffer.concat([Buffer.from(NAA_START), Buffer.from(unit.identity.id.subarray(0, 12))]),
    ),
  ]);
}

/** Page B0h, Block Limits (SBC-3, 6.5.3). Offsets count from the page's start, of which four bytes are the head's. */
function blockLimits(unit: LogicalUnit): Buffer {
  const page = Buffer.alloc(0x40);
  page.writeUInt16BE(2 ** physicalExponent(unit), 6);
  page.writeUInt32BE(maxTransferBlocks(unit), 8);
  page.writeUInt32BE(OPTIMAL_TRANSFER_BYTES / unit.blockBytes, 12);
  if (unit.identity.isThin) {
    page.writeUInt32BE(MAX_UNMAP_BLOCKS, 20);
    page.writeUInt32BE(MAX_UNMAP_DESCRIPTORS, 24);
    page.writeUInt32BE(OPTIMAL_TRANSFER_BYTES / unit.blockBytes, 28);
    page.writeUInt32BE(0x8000_0000, 32); // UGAVALID: granules start at block 0
  }
  page.writeBigUInt64BE(BigInt(maxWriteSameBlocks(unit)), 36);
  return page.subarray(4);
}

/** Page B1h: a medium that does not rotate (SBC-3, 6.5.2). */
function blockDeviceCharacteristics(): Buffer {
  const page = Buffer.alloc(0x40);
  page.writeUInt16BE(0x0001, 4);
  return page.subarray(4);
}

/** Page B2h (SBC-3, 6.5.4): UNMAP and WRITE SAME give space back, what was given back reads as zeros, it is thin. */
function logicalBlockProvisioning(): Buffer {
  const LBPU = 0x80;
  const LBPWS = 0x40;
  const LBPWS10 = 0x20;
  const LBPRZ = 0x04;
  const THIN = 0x02;
  return Buffer.from([0, LBPU | LBPWS | LBPWS10 | LBPRZ, THIN, 0]);
}
