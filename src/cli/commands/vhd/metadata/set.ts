import { readFile, stat } from 'node:fs/promises';
import { fromSystemError, HvError } from '../../../../errors/index.ts';
import { argument, defineCommand, FORCE, option } from '../../../definition.ts';
import { parsePath } from '../../../values/path.ts';

const MAX_BYTES = 1024 * 1024;

export const command = defineCommand({
  name: 'vhd metadata set',
  summary: "Set one of a VHDX file's user metadata items",
  description:
    'A new item or one that is there, of at most 1 MiB; a file has at most 1,024. The disk counts as changed: children that were made from it do not know it any more.',
  arguments: { file: argument('The disk file', parsePath), id: argument("The item's GUID") },
  options: {
    value: option('--value <text>', 'The text, as UTF-8'),
    file: option('--file <file>', 'The file that holds the bytes', parsePath),
    hex: option('--hex <digits>', 'The bytes as hexadecimal digits', parseHex),
    force: FORCE,
  },
  examples: [
    'vhd metadata set disk.vhdx 01234567-89ab-cdef-0123-456789abcdef --value "backup of web1"',
    'vhd metadata set disk.vhdx 01234567-89ab-cdef-0123-456789abcdef --file item.bin',
  ],
  changes: true,
  async run({ args, options, global, disks, output, signal, wouldDo }) {
    const { value, file, hex, force } = options;
    const given = [value, file, hex].filter((each) => each !== undefined).length;
    if (given !== 1) throw new HvError('invalid-argument', 'exactly one of --value, --file and --hex is needed');
    const bytes = hex ?? (file === undefined ? new TextEncoder().encode(value) : await readSmallFile(file));
    const service = await disks();
    const facts = { path: args.file, id: args.id, lengthBytes: bytes.length };
    if (global.dryRun) {
      await service.listMetadata(args.file);
      await service.mayChange(args.file, { force, signal });
      return wouldDo(`set the item ${args.id} of ${args.file} to ${bytes.length} bytes`, facts);
    }
    await service.setMetadata(args.file, args.id, bytes, { force, signal });
    output.done(facts, `Set the item ${args.id} of ${args.file} to ${bytes.length} bytes.`);
    return undefined;
  },
});

function parseHex(text: string): Uint8Array {
  const digits = text.replace(/[\s:]/g, '');
  if (digits.length % 2 === 0 && /^[0-9a-f]*$/i.test(digits)) return Buffer.from(digits, 'hex');
  throw new HvError('invalid-argument', `${JSON.stringify(text)} is not an even number of hexadecimal digits`);
}

async function readSmallFile(path: string): Promise<Uint8Array> {
  try {
    const { size } = await stat(path);
    if (size > MAX_BYTES) {
      throw new HvError('invalid-argument', `a metadata item holds at most 1 MiB; ${path} has ${size} bytes`, {
        detail: { path, sizeBytes: size },
      });
    }
    return await readFile(path);
  } catch (error) {
    if (error instanceof HvError) throw error;
    throw fromSystemError(error, `could not read ${path}`, { path });
  }
}
