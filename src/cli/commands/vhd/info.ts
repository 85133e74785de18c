import { argument, defineCommand, option } from '../../definition.ts';
import { choiceOf } from '../../values/choice.ts';
import { parsePath } from '../../values/path.ts';
import { showVhd } from './show.ts';

export const command = defineCommand({
  name: 'vhd info',
  summary: 'Show the format, type, sizes and parent of a virtual hard disk file',
  arguments: { file: argument('The disk file', parsePath) },
  options: {
    format: option(
      '--format <format>',
      'vhdx, vhd or raw (default: as the name ends)',
      choiceOf('format', ['vhdx', 'vhd', 'raw']),
    ),
  },
  examples: ['vhd info disk.vhdx', 'vhd info disk.vhdx --json'],
  changes: false,
  async run({ args, options, output }) {
    const { vhdInfo } = await import('../../../disk/index.ts');
    const info = await vhdInfo(args.file, { format: options.format });
    await output.result(info, () => showVhd(args.file, info, output));
    return undefined;
  },
});
