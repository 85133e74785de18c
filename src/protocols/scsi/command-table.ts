import { readCapacity10, readCapacity16 } from './capacity.ts';
import { type CommandDefinition, invalidField, NO_DATA, type Request } from './command.ts';
import { inquiry } from './inquiry.ts';
import { modeSelect, modeSense } from './mode-pages.ts';
import { getLbaStatus, unmap, writeSame } from './provisioning.ts';
import { reportLuns, reportSupportedOperationCodes, requestSense } from './reports.ts';
import { read, synchronizeCache, verify, write, writeAndVerify } from './transfers.ts';
import { Opcode, ServiceAction } from './wire.ts';

const B = 0xff;
const LBA_10 = [B, B, B, B];
const LBA_16 = [B, B, B, B, B, B, B, B];
const COUNT_32 = [B, B, B, B];

/** The CDBs of 10, 12 and 16 bytes that name a range, by the bits of their second byte. */
const range10 = (flags: number): number[] => [flags, ...LBA_10, 0, B, B];
const range12 = (flags: number): number[] => [flags, ...LBA_10, ...COUNT_32, 0];
const range16 = (flags: number): number[] => [flags, ...LBA_16, ...COUNT_32, 0];

const MEDIUM = { needsMedium: true } as const;
const READS = { needsMedium: true, hasRange: true } as const;
/** On the way to the medium: what fails is a write, though a read-only disk takes it. */
const FLUSHES = { needsMedium: true, hasRange: true, flushes: true } as const;
const WRITES = { needsMedium: true, hasRange: true, writes: true } as const;

/** Every command that the disk knows, in the order of their codes. */
export const COMMANDS: readonly CommandDefinition[] = [
  { opcode: Opcode.testUnitReady, name: 'TEST UNIT READY', usage: [], ...MEDIUM, run: () => NO_DATA },
  { opcode: Opcode.requestSense, name: 'REQUEST SENSE', usage: [0x01, 0, 0, B], run: requestSense },
  { opcode: Opcode.read6, name: 'READ(6)', usage: [0x1f, B, B, B], ...READS, run: read },
  { opcode: Opcode.write6, name: 'WRITE(6)', usage: [0x1f, B, B, B], ...WRITES, run: write },
  { opcode: Opcode.inquiry, name: 'INQUIRY', usage: [0x01, B, B, B], run: inquiry },
  { opcode: Opcode.modeSelect6, name: 'MODE SELECT(6)', usage: [0x11, 0, 0, B], run: modeSelect },
  { opcode: Opcode.modeSense6, name: 'MODE SENSE(6)', usage: [0x08, B, B, B], run: modeSense },
  { opcode: Opcode.startStopUnit, name: 'START STOP UNIT', usage: [0x01, 0, 0x0f, 0xf7], run: startStopUnit },
  // Nothing could be taken out anyway.
  {
    opcode: Opcode.preventAllowMediumRemoval,
    name: 'PREVENT ALLOW MEDIUM REMOVAL',
    usage: [0, 0, 0, 0x03],
    run: () => NO_DATA,
  },
  {
    opcode: Opcode.readCapacity10,
    name: 'READ CAPACITY(10)',
    usage: [0, ...LBA_10, 0, 0, 0x01],
    ...MEDIUM,
    run: readCapacity10,
  },
  { opcode: Opcode.read10, name: 'READ(10)', usage: range10(0xf8), ...READS, run: read },
  { opcode: Opcode.write10, name: 'WRITE(10)', usage: range10(0xf8), ...WRITES, run: write },
  {
    opcode: Opcode.writeAndVerify10,
    name: 'WRITE AND VERIFY(10)',
    usage: range10(0xf2),
    ...WRITES,
    run: writeAndVerify,
  },
  { opcode: Opcode.verify10, name: 'VERIFY(10)', usage: range10(0xf6), ...READS, run: verify },
  {
    opcode: Opcode.synchronizeCache10,
    name: 'SYNCHRONIZE CACHE(10)',
    usage: range10(0x02),
    ...FLUSHES,
    run: synchronizeCache,
  },
  { opcode: Opcode.writeSame10, name: 'WRITE SAME(10)', usage: range10(0xe8), ...WRITES, run: writeSame },
  {
    opcode: Opcode.unmap,
    name: 'UNMAP',
    usage: [0, 0, 0, 0, 0, 0, B, B],
    ...MEDIUM,
    writes: true,
    needsThin: true,
    run: unmap,
  },
  { opcode: Opcode.modeSelect10, name: 'MODE SELECT(10)', usage: [0x11, 0, 0, 0, 0, 0, B, B], run: modeSelect },
  { opcode: Opcode.modeSense10, name: 'MODE SENSE(10)', usage: [0x18, B, B, 0, 0, 0, B, B], run: modeSense },
  { opcode: Opcode.read16, name: 'READ(16)', usage: range16(0xf8), ...READS, run: read },
  { opcode: Opcode.write16, name: 'WRITE(16)', usage: range16(0xf8), ...WRITES, run: write },
  {
    opcode: Opcode.writeAndVerify16,
    name: 'WRITE AND VERIFY(16)',
    usage: range16(0xf2),
    ...WRITES,
    run: writeAndVerify,
  },
  { opcode: Opcode.verify16, name: 'VERIFY(16)', usage: range16(0xf6), ...READS, run: verify },
  {
    opcode: Opcode.synchronizeCache16,
    name: 'SYNCHRONIZE CACHE(16)',
    usage: range16(0x02),
    ...FLUSHES,
    run: synchronizeCache,
  },
  { opcode: Opcode.writeSame16, name: 'WRITE SAME(16)', usage: range16(0xe9), ...WRITES, run: writeSame },
  {
    opcode: Opcode.serviceActionIn16,
    serviceAction: ServiceAction.readCapacity16,
    name: 'READ CAPACITY(16)',
    usage: [0x1f, 0, 0, 0, 0, 0, 0, 0, 0, ...COUNT_32],
    ...MEDIUM,
    run: readCapacity16,
  },
  {
    opcode: Opcode.serviceActionIn16,
    serviceAction: ServiceAction.getLbaStatus,
    name: 'GET LBA STATUS',
    usage: [0x1f, ...LBA_16, ...COUNT_32],
    ...READS,
    run: getLbaStatus,
  },
  { opcode: Opcode.reportLuns, name: 'REPORT LUNS', usage: [0, B, 0, 0, 0, ...COUNT_32], run: reportLuns },
  {
    opcode: Opcode.maintenanceIn,
    serviceAction: ServiceAction.reportSupportedOperationCodes,
    name: 'REPORT SUPPORTED OPERATION CODES',
    usage: [0x1f, 0x87, B, B, B, ...COUNT_32],
    run: (request) => {
      const { isThin } = request.unit.identity;
      return reportSupportedOperationCodes(
        request,
        COMMANDS.filter((command) => isThin || !command.needsThin),
      );
    },
  },
  { opcode: Opcode.read12, name: 'READ(12)', usage: range12(0xf8), ...READS, run: read },
  { opcode: Opcode.write12, name: 'WRITE(12)', usage: range12(0xf8), ...WRITES, run: write },
  {
    opcode: Opcode.writeAndVerify12,
    name: 'WRITE AND VERIFY(12)',
    usage: range12(0xf2),
    ...WRITES,
    run: writeAndVerify,
  },
  { opcode: Opcode.verify12, name: 'VERIFY(12)', usage: range12(0xf6), ...READS, run: verify },
];

const START = 0x01;
const LOAD_EJECT = 0x02;
const NO_FLUSH = 0x04;

/** START STOP UNIT (SBC-3, 5.24). What is stopped is on the medium, unless asked otherwise. */
async function startStopUnit({ unit, cdb }: Request): Promise<Uint8Array> {
  const flags = cdb.readUInt8(4);
  if (flags >> 4 !== 0) throw invalidField(4, 7);
  if ((flags & LOAD_EJECT) !== 0) throw invalidField(4, 1);
  const starts = (flags & START) !== 0;
  if (!starts && (flags & NO_FLUSH) === 0 && !unit.device.readOnly) await unit.device.flush();
  unit.isStopped = !starts;
  return NO_DATA;
}
