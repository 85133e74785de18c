import { ALLOW_PARENT, argument, defineCommand, option } from '../../definition.ts';
import { choiceOf } from '../../values/choice.ts';
import { IMAGE_FORMATS } from '../../values/disk.ts';
import { parsePath } from '../../values/path.ts';

export const command = defineCommand({
  name: 'vhd hash',
  summary: 'Show the SHA-256 of everything that a disk holds',
  description:
    'The same for every disk with the same contents, whatever its format, type and parents: what sha256sum says of a raw copy.',
  arguments: { file: argument('The disk file', parsePath) },
  options: {
    format: option(
      '--format <format>',
      'Format of the disk (default: as its name ends)',
      choiceOf('format', IMAGE_FORMATS),
    ),
    allowParent: ALLOW_PARENT,
  },
  examples: ['vhd hash disk.vhdx', 'vhd hash disk.vhdx --json'],
  changes: false,
  async run({ args, options, disks, output, long }) {
    const result = await (await disks()).hash(args.file, {
      format: options.format,
      allowParents: options.allowParent,
      ...long('Hashing'),
    });
    await output.result(result, () => `${result.hash}  ${args.file}`);
    return undefined;
  },
});
