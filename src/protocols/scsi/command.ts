import type { BlockDevice } from '../../disk/block-device.ts';
import { CheckCondition, type SenseFormat } from './sense.ts';
import { Asc, SenseKey } from './wire.ts';

/** What a disk says of itself. */
export interface DiskIdentity {
  /** 16 bytes that are this disk's alone: the virtual disk's id. */
  readonly id: Uint8Array;
  /** The disk takes space as it is written, and may give it back: UNMAP works. */
  readonly isThin: boolean;
}

/** The logical unit as its commands see it. */
export interface LogicalUnit {
  readonly device: BlockDevice;
  readonly identity: DiskIdentity;
  readonly blockBytes: number;
  /** How many blocks there are. */
  readonly blockCount: number;
  readonly senseFormat: SenseFormat;
  /** What the initiator is told; the device itself may be open for more, or for less. */
  readonly isWriteProtected: boolean;
  /** START STOP UNIT has stopped it: commands that need the medium are refused. */
  isStopped: boolean;
}

/** One command in execution. */
export interface Request {
  readonly unit: LogicalUnit;
  readonly cdb: Buffer;
  readonly dataOut: Uint8Array;
}

export type DataIn = Uint8Array;
export const NO_DATA: DataIn = new Uint8Array(0);

/** What a command is: in the table, and in REPORT SUPPORTED OPERATION CODES. */
export interface CommandDefinition {
  readonly opcode: number;
  readonly serviceAction?: number;
  readonly name: string;
  /** Which bits of the CDB mean something, from the operation code on, without the control byte (SPC-4, 6.36.3). */
  readonly usage: readonly number[];
  /** It is refused while the unit is stopped. */
  readonly needsMedium?: true;
  /** It is refused on a disk that is read-only. */
  readonly writes?: true;
  /** What fails in it failed on the way to the medium. */
  readonly flushes?: true;
  /** Its CDB names a range of blocks. */
  readonly hasRange?: true;
  /** Only a thin disk knows it. */
  readonly needsThin?: true;
  run(request: Request): DataIn | Promise<DataIn>;
}

/** A field of the CDB is not acceptable. */
export function invalidField(byte: number, bit?: number): CheckCondition {
  return new CheckCondition(SenseKey.illegalRequest, Asc.invalidFieldInCdb, {
    field: { isInCdb: true, byte, ...(bit === undefined ? {} : { bit }) },
  });
}

/** A field of the parameter list that came with the command is not acceptable. */
export function invalidParameter(byte: number): CheckCondition {
  return new CheckCondition(SenseKey.illegalRequest, Asc.invalidFieldInParameterList, {
    field: { isInCdb: false, byte },
  });
}

export function parameterListLengthError(): CheckCondition {
  return new CheckCondition(SenseKey.illegalRequest, Asc.parameterListLengthError);
}

/** The first `length` bytes that came with the command. @throws CheckCondition when fewer came */
export function takeDataOut({ dataOut }: Request, length: number): Uint8Array {
  if (dataOut.length < length) throw new CheckCondition(SenseKey.abortedCommand, Asc.dataPhaseError);
  return dataOut.subarray(0, length);
}

/** What does not fit the initiator's buffer is left out; that is no error (SPC-4, 4.2.5.6). */
export function cutTo(data: Uint8Array, allocationLength: number): Uint8Array {
  return data.subarray(0, Math.min(data.length, allocationLength));
}

/** 64 bits of a CDB or a parameter list; beyond 2^53 it is out of every disk's range, so that precision does not matter. */
export function readUInt64(bytes: Buffer, at: number): number {
  return Number(bytes.readBigUInt64BE(at));
}

/** @throws CheckCondition LOGICAL BLOCK ADDRESS OUT OF RANGE, with the first block that is not there */
export function mustContain(unit: LogicalUnit, lba: number, count: number): void {
  if (lba <= unit.blockCount && count <= unit.blockCount - lba && (count > 0 || lba < unit.blockCount)) return;
  throw new CheckCondition(SenseKey.illegalRequest, Asc.lbaOutOfRange, {
    ...(lba <= Number.MAX_SAFE_INTEGER ? { information: Math.max(lba, unit.blockCount) } : {}),
  });
}
