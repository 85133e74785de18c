import { writeFile } from 'node:fs/promises';
import { fromSystemError } from '../../../../errors/index.ts';
import { argument, defineCommand, option } from '../../../definition.ts';
import { parsePath } from '../../../values/path.ts';

export const command = defineCommand({
  name: 'vhd metadata get',
  summary: "Read one of a VHDX file's user metadata items",
  description:
    'Its bytes go to standard output as they are, or into a file. --json prints them as base64, and as text where they are UTF-8.',
  arguments: { file: argument('The disk file', parsePath), id: argument("The item's GUID") },
  options: { output: option('-o, --output <file>', 'A new file for the bytes', parsePath) },
  examples: [
    'vhd metadata get disk.vhdx 01234567-89ab-cdef-0123-456789abcdef',
    'vhd metadata get disk.vhdx 01234567-89ab-cdef-0123-456789abcdef --output item.bin',
  ],
  changes: false,
  async run({ args, options, disks, output }) {
    const bytes = await (await disks()).getMetadata(args.file, args.id);
    const facts = { path: args.file, id: args.id, lengthBytes: bytes.length };
    if (options.output !== undefined) {
      try {
        await writeFile(options.output, bytes, { flag: 'wx' });
      } catch (error) {
        throw fromSystemError(error, `could not write ${options.output}`, { path: options.output });
      }
      output.done({ ...facts, output: options.output }, `Wrote ${bytes.length} bytes to ${options.output}.`);
    } else if (output.json) {
      output.done({ ...facts, base64: Buffer.from(bytes).toString('base64'), text: textOf(bytes) }, '');
    } else {
      output.raw(bytes);
    }
    return undefined;
  },
});

function textOf(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null; // Not text.
  }
}
