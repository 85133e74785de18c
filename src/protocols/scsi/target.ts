import type { BlockDevice } from '../../disk/block-device.ts';
import { HvError, type HvErrorCode, isHvError } from '../../errors/index.ts';
import { type CommandDefinition, type DiskIdentity, invalidField, type LogicalUnit, NO_DATA } from './command.ts';
import { COMMANDS } from './command-table.ts';
import { CheckCondition, encodeSense, type Sense, type SenseFormat } from './sense.ts';
import { blockRange } from './transfers.ts';
import { Asc, cdbLength, MAX_CDB_BYTES, SenseKey, Status } from './wire.ts';

export interface ScsiTargetOptions {
  readonly identity: DiskIdentity;
  /** How sense data is written, as the control mode page says. Default `fixed`. */
  readonly senseFormat?: SenseFormat;
  /** Refuses writes and says so beforehand. Default: as the device is open. */
  readonly writeProtected?: boolean;
}

/** How a command ended. */
export interface ScsiResult {
  /** Status byte: 0 GOOD, 2 CHECK CONDITION. */
  readonly status: number;
  readonly sense: Sense | null;
  /** The same as the initiator gets it; empty where there is none. */
  readonly senseData: Uint8Array;
  readonly dataIn: Uint8Array;
  /** What the command is called in its standard; null for one that the disk does not know. */
  readonly commandName: string | null;
}

const NACA = 0x04;

/**
 * A disk that is spoken to in SCSI commands (SPC-4, SBC-3), as RawSCSIVirtualDisk of VirtDisk offers it: one logical unit
 * over a block device. There is one initiator, so that no unit attention is ever due. Every CDB is answered with a status;
 * no input makes it throw.
 */
export class ScsiTarget {
  readonly #unit: LogicalUnit;

  constructor(device: BlockDevice, options: ScsiTargetOptions) {
    const { id, isThin } = options.identity;
    if (id.length !== 16) throw new HvError('invalid-argument', 'a disk is told apart by 16 bytes');
    this.#unit = {
      device,
      identity: { id, isThin },
      blockBytes: device.logicalSectorSizeBytes,
      blockCount: Math.floor(device.sizeBytes / device.logicalSectorSizeBytes),
      senseFormat: options.senseFormat ?? 'fixed',
      isWriteProtected: options.writeProtected ?? device.readOnly,
      isStopped: false,
    };
  }

  /**
   * Executes one command. Synchronous work but for what flushes.
   * @param cdb the command; bytes behind the length that its code gives it are ignored
   * @param dataOut what goes to the disk with it
   */
  async execute(cdb: Uint8Array, dataOut: Uint8Array = NO_DATA): Promise<ScsiResult> {
    const bytes = Buffer.from(cdb.subarray(0, MAX_CDB_BYTES));
    const command = findCommand(bytes);
    const commandName = command?.name ?? null;
    try {
      const dataIn = await this.#run(bytes, command, dataOut);
      return { status: Status.good, sense: null, senseData: NO_DATA, dataIn, commandName };
    } catch (error) {
      const sense = error instanceof CheckCondition ? error.sense : senseOf(error, bytes, command);
      const senseData = encodeSense(sense, this.#unit.senseFormat);
      return { status: Status.checkCondition, sense, senseData, dataIn: NO_DATA, commandName };
    }
  }

  async #run(cdb: Buffer, command: CommandDefinition | undefined, dataOut: Uint8Array): Promise<Uint8Array> {
    if (!command || (command.needsThin && !this.#unit.identity.isThin)) throw unknownCommand(cdb);
    const length = cdbLength(command.opcode) ?? MAX_CDB_BYTES;
    if (cdb.length < length) throw invalidField(cdb.length);
    if ((cdb.readUInt8(length - 1) & NACA) !== 0) throw invalidField(length - 1, 2);
    if (command.needsMedium && this.#unit.isStopped) {
      throw new CheckCondition(SenseKey.notReady, Asc.notReadyInitializingCommandRequired);
    }
    if (command.writes && this.#unit.isWriteProtected) {
      throw new CheckCondition(SenseKey.dataProtect, Asc.writeProtected);
    }
    return command.run({ unit: this.#unit, cdb, dataOut });
  }
}

/** Whether a command would write, for whoever has to open the disk for it. A command that is not known does not. */
export function isWritingCommand(cdb: Uint8Array): boolean {
  return findCommand(Buffer.from(cdb.subarray(0, MAX_CDB_BYTES)))?.writes === true;
}

function findCommand(cdb: Buffer): CommandDefinition | undefined {
  const action = cdb.length > 1 ? cdb.readUInt8(1) & 0x1f : undefined;
  return COMMANDS.find(
    ({ opcode, serviceAction }) => opcode === cdb[0] && (serviceAction === undefined || serviceAction === action),
  );
}

/** A service action that is not known is a field of its CDB; an operation code is not (SPC-4, 4.2.5.1). */
function unknownCommand(cdb: Buffer): CheckCondition {
  const hasActions = COMMANDS.some(({ opcode, serviceAction }) => opcode === cdb[0] && serviceAction !== undefined);
  if (hasActions) return invalidField(1, 4);
  return new CheckCondition(SenseKey.illegalRequest, Asc.invalidOperationCode);
}

/** What fails in the disk, as the disk's user is told: the medium's own trouble, the space behind it, or ours. */
const SENSE_BY_CODE: Partial<Readonly<Record<HvErrorCode, readonly [key: number, onRead: number, onWrite: number]>>> = {
  io: [SenseKey.mediumError, Asc.unrecoveredReadError, Asc.writeError],
  corrupt: [SenseKey.mediumError, Asc.unrecoveredReadError, Asc.writeError],
  'parent-changed': [SenseKey.mediumError, Asc.unrecoveredReadError, Asc.writeError],
  'no-space': [SenseKey.dataProtect, Asc.spaceAllocationFailed, Asc.spaceAllocationFailed],
  'permission-denied': [SenseKey.dataProtect, Asc.writeProtected, Asc.writeProtected],
};

function senseOf(error: unknown, cdb: Buffer, command: CommandDefinition | undefined): Sense {
  const known = isHvError(error) ? SENSE_BY_CODE[error.code] : undefined;
  if (!known) return new CheckCondition(SenseKey.hardwareError, Asc.internalTargetFailure).sense;
  const [key, onRead, onWrite] = known;
  const isWrite = command?.writes === true || command?.flushes === true;
  const information = command?.hasRange ? { information: blockRange(cdb).lba } : {};
  return new CheckCondition(key, isWrite ? onWrite : onRead, information).sense;
}
