import { readFile, writeFile } from 'node:fs/promises';
import { fromSystemError, HvError } from '../../../errors/index.ts';
import { ALLOW_PARENT, argument, defineCommand, FORCE, flag, option } from '../../definition.ts';
import { loadScsi } from '../../doors.ts';
import { EXIT } from '../../exit-status.ts';
import { hexDump } from '../../output/hex-dump.ts';
import { choiceOf } from '../../values/choice.ts';
import { parsePath } from '../../values/path.ts';
import { parseSize } from '../../values/size.ts';

const MAX_CDB_DIGITS = 32;

export const command = defineCommand({
  name: 'vhd scsi',
  summary: 'Give a disk one SCSI command and show its status, sense data and answer',
  description:
    'The command is a CDB in hexadecimal; spaces may stand between its bytes. Ends with status 1 when the disk answers CHECK CONDITION. What a command wrote is durable when this returns.',
  arguments: { file: argument('The disk file', parsePath), cdb: argument('The command, as in 120000006000', parseCdb) },
  options: {
    dataOut: option('--data-out <file>', 'Send the bytes of this file with the command', parsePath),
    dataIn: option('--data-in <size>', 'Show at most this much of the answer (default all)', parseSize),
    output: option('-o, --output <file>', 'Write the answer to this file instead of showing it', parsePath),
    readOnly: flag('--read-only', 'The disk is write-protected'),
    format: option(
      '--format <format>',
      'Format of the file (default: as the name ends)',
      choiceOf('format', ['vhdx', 'vhd', 'raw']),
    ),
    sense: option(
      '--sense <form>',
      'fixed or descriptor: how sense data is written',
      choiceOf('form', ['fixed', 'descriptor']),
    ),
    force: FORCE,
    allowParent: ALLOW_PARENT,
  },
  examples: [
    'vhd scsi disk.vhdx 120000006000',
    'vhd scsi disk.vhdx "12 01 83 00 ff 00" --json',
    'vhd scsi disk.vhdx 2a000000000000000100 --data-out sector.bin',
  ],
  changes: true,
  async run({ args, options, global, disks, output, signal, wouldDo }) {
    const { describeSense, executeScsi, isWritingCommand } = await loadScsi();
    const { readOnly, force, format, sense: senseFormat, allowParent: allowParents } = options;
    const writes = !readOnly && isWritingCommand(args.cdb);
    if (writes) await (await disks()).mayChange(args.file, { force, signal });
    const dataOut = options.dataOut === undefined ? undefined : await readDataOut(options.dataOut);
    if (global.dryRun) return wouldDo(`give ${args.file} the SCSI command ${toHex(args.cdb)}`, { writes });
    const result = await executeScsi(args.file, args.cdb, {
      readOnly,
      format,
      allowParents,
      signal,
      ...(dataOut === undefined ? {} : { dataOut }),
      ...(senseFormat === undefined ? {} : { senseFormat }),
    });
    const dataIn = result.dataIn.subarray(0, options.dataIn);
    if (options.output !== undefined) await writeAnswer(options.output, dataIn);
    const { commandName, status, sense } = result;
    const answer = {
      command: commandName,
      cdb: toHex(args.cdb),
      status,
      sense: sense && {
        key: sense.key,
        asc: sense.asc,
        ascq: sense.ascq,
        text: describeSense(sense),
        information: sense.information ?? null,
        bytes: toHex(result.senseData),
      },
      dataLengthBytes: result.dataIn.length,
      data: options.output === undefined ? toHex(dataIn) : null,
    };
    await output.result(answer, () => {
      const head = `${commandName ?? 'Unknown command'}: ${sense ? `CHECK CONDITION\n${describeSense(sense)}` : 'GOOD'}`;
      return options.output === undefined && dataIn.length > 0 ? `${head}\n${hexDump(dataIn)}` : head;
    });
    return sense ? EXIT.failed : EXIT.done;
  },
});

function parseCdb(text: string): Uint8Array {
  const digits = text.replaceAll(/[\s,]+/g, '');
  if (
    digits.length % 2 !== 0 ||
    digits.length === 0 ||
    digits.length > MAX_CDB_DIGITS ||
    !/^[0-9a-f]+$/i.test(digits)
  ) {
    throw new HvError('invalid-argument', `${JSON.stringify(text)} is not a SCSI command in hexadecimal`, {
      hint: 'Write 1 to 16 bytes, two digits each, as in 120000006000.',
    });
  }
  return Buffer.from(digits, 'hex');
}

/** As much as the largest command takes. */
const MAX_DATA_OUT_BYTES = 32 * 2 ** 20;

async function readDataOut(path: string): Promise<Uint8Array> {
  try {
    const bytes = await readFile(path);
    if (bytes.length <= MAX_DATA_OUT_BYTES) return bytes;
  } catch (error) {
    throw fromSystemError(error, `could not read ${path}`, { path });
  }
  throw new HvError('invalid-argument', `${path} holds more than a command can take: 32 MiB`, { detail: { path } });
}

async function writeAnswer(path: string, bytes: Uint8Array): Promise<void> {
  try {
    await writeFile(path, bytes);
  } catch (error) {
    throw fromSystemError(error, `could not write ${path}`, { path });
  }
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
