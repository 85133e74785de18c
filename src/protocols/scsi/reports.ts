import { type CommandDefinition, cutTo, type DataIn, invalidField, type Request } from './command.ts';
import { encodeSense } from './sense.ts';
import { Asc, cdbLength, SenseKey } from './wire.ts';

/** REPORT LUNS (SPC-4, 6.33): there is LUN 0 and no well known one. */
export function reportLuns({ cdb }: Request): DataIn {
  const selected = cdb.readUInt8(2);
  if (selected > 0x02) throw invalidField(2);
  const allocationLength = cdb.readUInt32BE(6);
  if (allocationLength < 16) throw invalidField(6);
  const luns = selected === 0x01 ? Buffer.alloc(0) : Buffer.alloc(8);
  const head = Buffer.alloc(8);
  head.writeUInt32BE(luns.length, 0);
  return cutTo(Buffer.concat([head, luns]), allocationLength);
}

/** REQUEST SENSE (SPC-4, 6.39): every command brought its own sense data, so that nothing is left to tell. */
export function requestSense({ unit, cdb }: Request): DataIn {
  const format = (cdb.readUInt8(1) & 0x01) !== 0 ? 'descriptor' : 'fixed';
  const sense = unit.isStopped
    ? { key: SenseKey.notReady, code: Asc.notReadyInitializingCommandRequired }
    : { key: SenseKey.noSense, code: Asc.none };
  return cutTo(
    encodeSense({ key: sense.key, asc: sense.code >> 8, ascq: sense.code & 0xff }, format),
    cdb.readUInt8(4),
  );
}

const REPORTING = { all: 0, opcode: 1, serviceAction: 2, either: 3 } as const;
const SUPPORT = { not: 0x01, asStandard: 0x03 } as const;
const SERVACTV = 0x01;
const CTDP = 0x02;
/** Command timeouts descriptor (SPC-4, 6.36.4): no timeout is recommended. */
const NO_TIMEOUTS = Buffer.from([0, 0x0a, ...new Array<number>(10).fill(0)]);

/** REPORT SUPPORTED OPERATION CODES (SPC-4, 6.36), told from the table itself. */
export function reportSupportedOperationCodes({ cdb }: Request, commands: readonly CommandDefinition[]): DataIn {
  const withTimeouts = (cdb.readUInt8(2) & 0x80) !== 0;
  const options = cdb.readUInt8(2) & 0x07;
  const allocationLength = cdb.readUInt32BE(6);
  if (options === REPORTING.all) return cutTo(listAll(commands, withTimeouts), allocationLength);
  if (options > REPORTING.either) throw invalidField(2, 2);
  const opcode = cdb.readUInt8(3);
  const action = cdb.readUInt16BE(4);
  const sameCode = commands.filter((command) => command.opcode === opcode);
  const hasActions = sameCode.some((command) => command.serviceAction !== undefined);
  if (options === REPORTING.opcode && hasActions) throw invalidField(3);
  if (options === REPORTING.serviceAction && sameCode.length > 0 && !hasActions) throw invalidField(3);
  const found = sameCode.find((command) => (hasActions ? command.serviceAction === action : true));
  const isFound = found !== undefined && (hasActions || options !== REPORTING.either || action === 0);
  return cutTo(describeOne(isFound ? found : undefined, withTimeouts), allocationLength);
}

function listAll(commands: readonly CommandDefinition[], withTimeouts: boolean): Buffer {
  const descriptors = commands.map((command) => {
    const descriptor = Buffer.alloc(8);
    descriptor[0] = command.opcode;
    descriptor.writeUInt16BE(command.serviceAction ?? 0, 2);
    descriptor[5] = (command.serviceAction === undefined ? 0 : SERVACTV) | (withTimeouts ? CTDP : 0);
    descriptor.writeUInt16BE(usageOf(command).length, 6);
    return withTimeouts ? Buffer.concat([descriptor, NO_TIMEOUTS]) : descriptor;
  });
  const head = Buffer.alloc(4);
  head.writeUInt32BE(
    descriptors.reduce((sum, { length }) => sum + length, 0),
    0,
  );
  return Buffer.concat([head, ...descriptors]);
}

function describeOne(command: CommandDefinition | undefined, withTimeouts: boolean): Buffer {
  if (!command) return Buffer.from([0, SUPPORT.not, 0, 0]);
  const usage = usageOf(command);
  const head = Buffer.from([0, SUPPORT.asStandard | (withTimeouts ? 0x80 : 0), 0, 0]);
  head.writeUInt16BE(usage.length, 2);
  return Buffer.concat(withTimeouts ? [head, usage, NO_TIMEOUTS] : [head, usage]);
}

/** The CDB's usage map as long as the CDB: what the table leaves out, the control byte among it, is not looked at. */
function usageOf({ opcode, usage }: CommandDefinition): Buffer {
  const map = Buffer.alloc(cdbLength(opcode) ?? 0);
  map[0] = opcode;
  usage.forEach((mask, index) => {
    map[index + 1] = mask;
  });
  return map;
}
