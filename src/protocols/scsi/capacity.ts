import { cutTo, type DataIn, invalidField, type Request } from './command.ts';
import { physicalExponent } from './limits.ts';

/** READ CAPACITY(10) (SBC-3, 5.15): a disk too large for it says so with the largest number. */
export function readCapacity10({ unit, cdb }: Request): DataIn {
  const isPartial = (cdb.readUInt8(8) & 0x01) !== 0;
  if (!isPartial && cdb.readUInt32BE(2) !== 0) throw invalidField(2);
  const data = Buffer.alloc(8);
  data.writeUInt32BE(Math.min(unit.blockCount - 1, 0xffff_ffff), 0);
  data.writeUInt32BE(unit.blockBytes, 4);
  return data;
}

const LBPME = 0x80;
const LBPRZ = 0x40;

/** READ CAPACITY(16) (SBC-3, 5.16). */
export function readCapacity16({ unit, cdb }: Request): DataIn {
  const data = Buffer.alloc(32);
  data.writeBigUInt64BE(BigInt(unit.blockCount - 1), 0);
  data.writeUInt32BE(unit.blockBytes, 8);
  data[13] = physicalExponent(unit);
  data[14] = unit.identity.isThin ? LBPME | LBPRZ : 0;
  return cutTo(data, cdb.readUInt32BE(10));
}
