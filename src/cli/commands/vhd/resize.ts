import { HvError } from '../../../errors/index.ts';
import { ALLOW_PARENT, argument, defineCommand, FORCE, flag, option } from '../../definition.ts';
import { showBytes } from '../../output/units.ts';
import { choiceOf } from '../../values/choice.ts';
import { parsePath } from '../../values/path.ts';
import { parseSize } from '../../values/size.ts';

export const command = defineCommand({
  name: 'vhd resize',
  summary: 'Make a virtual disk larger or smaller',
  description:
    'The second copy of a GUID partition table moves to the new end; partitions and file systems keep their sizes. A disk never shrinks below the end of its last partition, unless --unsafe cuts that off. Interrupted at any moment, the file holds the disk of the old or the new size.',
  arguments: { file: argument('The disk file', parsePath) },
  options: {
    size: option('-s, --size <size>', 'The new size, as in 128G', parseSize),
    toMinimum: flag('--to-minimum', 'Shrink to the smallest size that is safe'),
    unsafe: flag('--unsafe', 'Cut off partitions and data behind the new size'),
    format: option(
      '--format <format>',
      'vhdx, vhd or raw (default: as the name ends)',
      choiceOf('format', ['vhdx', 'vhd', 'raw']),
    ),
    force: FORCE,
    allowParent: ALLOW_PARENT,
  },
  examples: ['vhd resize disk.vhdx --size 128G', 'vhd resize disk.vhdx --to-minimum'],
  changes: true,
  async run({ args, options, global, disks, output, long, wouldDo }) {
    const { size, toMinimum, unsafe, format, force, allowParent: allowParents } = options;
    if ((size === undefined) !== toMinimum) {
      throw new HvError('invalid-argument', 'exactly one of --size and --to-minimum is needed', {
        hint: 'Add --size, as in --size 128G.',
      });
    }
    const result = await (await disks()).resize(args.file, size ?? 'minimum', {
      unsafe,
      format,
      force,
      allowParents,
      dryRun: global.dryRun,
      ...long('Resizing'),
    });
    const change = `from ${showBytes(result.oldSizeBytes)} to ${showBytes(result.sizeBytes)}`;
    if (global.dryRun) return wouldDo(`resize ${args.file} ${change}`, { ...result });
    output.done(result, `Resized ${args.file} ${change}.`);
    return undefined;
  },
});
