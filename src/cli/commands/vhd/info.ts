import { ALLOW_PARENT, argument, defineCommand, flag, option } from '../../definition.ts';
import { choiceOf } from '../../values/choice.ts';
import { parsePath } from '../../values/path.ts';
import { showVhd } from './show.ts';

export const command = defineCommand({
  name: 'vhd info',
  summary: 'Show the format, type, sizes and parent of a virtual hard disk file',
  arguments: { file: argument('The disk file', parsePath) },
  options: {
    all: flag('--all', 'Also what its contents and its whole block table must be read for'),
    allowParent: ALLOW_PARENT,
    format: option(
      '--format <format>',
      'vhdx, vhd or raw (default: as the name ends)',
      choiceOf('format', ['vhdx', 'vhd', 'raw']),
    ),
  },
  description:
    'Reads only the head of the file, and works while the disk is in use. --all adds how much its blocks lie out of order and the smallest size that it can safely shrink to.',
  examples: ['vhd info disk.vhdx', 'vhd info disk.vhdx --all', 'vhd info disk.vhdx --json'],
  changes: false,
  async run({ args, options, output, signal }) {
    const { vhdInfo } = await import('../../../disk/index.ts');
    const info = await vhdInfo(args.file, {
      format: options.format,
      all: options.all,
      allowParents: options.allowParent,
      signal,
    });
    await output.result(info, () => showVhd(args.file, info, output));
    return undefined;
  },
});
