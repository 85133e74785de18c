import { SenseKey } from './wire.ts';

/** Why a command ended as it did. */
export interface Sense {
  /** Sense key, see `SenseKey`. */
  readonly key: number;
  /** Additional sense code. */
  readonly asc: number;
  /** Its qualifier. */
  readonly ascq: number;
  /** The logical block concerned. */
  readonly information?: number;
  /** What is wrong with the request: the byte, and the bit where one bit is meant. */
  readonly field?: { readonly isInCdb: boolean; readonly byte: number; readonly bit?: number };
}

export type SenseFormat = 'fixed' | 'descriptor';

/** Ends a command with CHECK CONDITION. Never leaves the room: the target answers it as a result. */
export class CheckCondition extends Error {
  readonly sense: Sense;

  /** @param code ASC in the upper byte, its qualifier in the lower one */
  constructor(key: number, code: number, more: Pick<Sense, 'information' | 'field'> = {}) {
    super(`check condition ${key.toString(16)}/${code.toString(16)}`);
    this.sense = { key, asc: code >> 8, ascq: code & 0xff, ...more };
  }
}

const RESPONSE_CODE: Readonly<Record<SenseFormat, number>> = { fixed: 0x70, descriptor: 0x72 };
const FIXED_BYTES = 18;
const INFORMATION_DESCRIPTOR_BYTES = 12;
const SENSE_KEY_SPECIFIC_DESCRIPTOR_BYTES = 8;
/** SKSV: the sense-key specific bytes mean something. */
const SKS_VALID = 0x80;

/** Sense data as the initiator reads it (SPC-4, 4.5.2 and 4.5.3). */
export function encodeSense(sense: Sense, format: SenseFormat): Buffer {
  return format === 'fixed' ? encodeFixed(sense) : encodeDescriptors(sense);
}

function encodeFixed({ key, asc, ascq, information, field }: Sense): Buffer {
  const bytes = Buffer.alloc(FIXED_BYTES);
  bytes[0] = RESPONSE_CODE.fixed;
  bytes[2] = key;
  // The field has four bytes: a block beyond them is not told in this format.
  if (information !== undefined && information < 2 ** 32) {
    bytes[0] |= 0x80;
    bytes.writeUInt32BE(information, 3);
  }
  bytes[7] = FIXED_BYTES - 8;
  bytes[12] = asc;
  bytes[13] = ascq;
  if (field && key === SenseKey.illegalRequest) fieldPointer(field).copy(bytes, 15);
  return bytes;
}

function encodeDescriptors({ key, asc, ascq, information, field }: Sense): Buffer {
  const parts = [Buffer.from([RESPONSE_CODE.descriptor, key, asc, ascq, 0, 0, 0, 0])];
  if (information !== undefined) {
    const descriptor = Buffer.alloc(INFORMATION_DESCRIPTOR_BYTES);
    descriptor[0] = 0x00;
    descriptor[1] = INFORMATION_DESCRIPTOR_BYTES - 2;
    descriptor[2] = 0x80;
    descriptor.writeBigUInt64BE(BigInt(information), 4);
    parts.push(descriptor);
  }
  if (field && key === SenseKey.illegalRequest) {
    const descriptor = Buffer.alloc(SENSE_KEY_SPECIFIC_DESCRIPTOR_BYTES);
    descriptor[0] = 0x02;
    descriptor[1] = SENSE_KEY_SPECIFIC_DESCRIPTOR_BYTES - 2;
    fieldPointer(field).copy(descriptor, 4);
    parts.push(descriptor);
  }
  const bytes = Buffer.concat(parts);
  bytes[7] = bytes.length - 8;
  return bytes;
}

/** SPC-4, table 49: C/D in bit 6, BPV in bit 3 of the first byte. */
function fieldPointer(field: NonNullable<Sense['field']>): Buffer {
  const bytes = Buffer.alloc(3);
  bytes[0] = SKS_VALID | (field.isInCdb ? 0x40 : 0) | (field.bit === undefined ? 0 : 0x08 | field.bit);
  bytes.writeUInt16BE(field.byte, 1);
  return bytes;
}

const KEY_NAMES: readonly string[] = [
  'NO SENSE',
  'RECOVERED ERROR',
  'NOT READY',
  'MEDIUM ERROR',
  'HARDWARE ERROR',
  'ILLEGAL REQUEST',
  'UNIT ATTENTION',
  'DATA PROTECT',
  'BLANK CHECK',
  'VENDOR SPECIFIC',
  'COPY ABORTED',
  'ABORTED COMMAND',
  'RESERVED',
  'VOLUME OVERFLOW',
  'MISCOMPARE',
  'COMPLETED',
];

const CODE_NAMES: ReadonlyMap<number, string> = new Map([
  [0x0000, 'no additional sense information'],
  [0x0402, 'logical unit not ready, initializing command required'],
  [0x0c00, 'write error'],
  [0x1100, 'unrecovered read error'],
  [0x1a00, 'parameter list length error'],
  [0x1d00, 'miscompare during verify operation'],
  [0x2000, 'invalid command operation code'],
  [0x2100, 'logical block address out of range'],
  [0x2400, 'invalid field in CDB'],
  [0x2600, 'invalid field in parameter list'],
  [0x2700, 'write protected'],
  [0x2707, 'space allocation failed write protect'],
  [0x3900, 'saving parameters not supported'],
  [0x4400, 'internal target failure'],
  [0x4b00, 'data phase error'],
]);

/** For people: `ILLEGAL REQUEST: invalid field in CDB (05/24/00), byte 2 bit 0`. */
export function describeSense({ key, asc, ascq, information, field }: Sense): string {
  const hex = (value: number): string => value.toString(16).padStart(2, '0');
  const name = CODE_NAMES.get((asc << 8) | ascq);
  const where = field === undefined ? '' : `, byte ${field.byte}${field.bit === undefined ? '' : ` bit ${field.bit}`}`;
  const block = information === undefined ? '' : `, block ${information}`;
  const codes = `${hex(key)}/${hex(asc)}/${hex(ascq)}`;
  return `${KEY_NAMES[key] ?? 'SENSE'}${name === undefined ? '' : `: ${name}`} (${codes})${where}${block}`;
}
