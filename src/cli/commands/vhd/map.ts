import type { MapEntry } from '../../../disk/index.ts';
import { ALLOW_PARENT, argument, defineCommand, option } from '../../definition.ts';
import type { Column, Style } from '../../output/output.ts';
import { choiceOf } from '../../values/choice.ts';
import { IMAGE_FORMATS } from '../../values/disk.ts';
import { parsePath } from '../../values/path.ts';
import { parseSize } from '../../values/size.ts';

const STYLES: Readonly<Record<MapEntry['kind'], Style | undefined>> = {
  data: 'green',
  parent: 'cyan',
  zero: undefined,
  unmapped: 'dim',
};

const COLUMNS: readonly Column<MapEntry>[] = [
  { title: 'Offset', align: 'right', text: ({ offsetBytes }) => String(offsetBytes) },
  { title: 'Length', align: 'right', text: ({ lengthBytes }) => String(lengthBytes) },
  { title: 'Kind', text: ({ kind }) => kind, style: ({ kind }) => STYLES[kind] },
  { title: 'Depth', align: 'right', text: ({ depth }) => String(depth) },
  { title: 'In the file', align: 'right', text: ({ fileOffsetBytes }) => String(fileOffsetBytes ?? '') },
  { title: 'File', text: ({ path }) => path ?? '' },
];

export const command = defineCommand({
  name: 'vhd map',
  summary: 'Show what a disk is made of: data, zeros, what is unmapped, what comes from a parent',
  description:
    "In bytes, in order and without gaps. data lies in the disk's own file, parent in a file up the chain; zero and unmapped read as zeros. Depth says how many files up the chain the answer comes from.",
  arguments: { file: argument('The disk file', parsePath) },
  options: {
    format: option(
      '--format <format>',
      'Format of the disk (default: as its name ends)',
      choiceOf('format', IMAGE_FORMATS),
    ),
    offset: option('--offset <size>', 'Start of the range to show (default 0)', parseSize),
    length: option('--length <size>', 'Length of the range to show (default: all)', parseSize),
    allowParent: ALLOW_PARENT,
  },
  examples: ['vhd map disk.vhdx', 'vhd map disk.vhdx --json'],
  changes: false,
  async run({ args, options, disks, output, long }) {
    const entries = await (await disks()).map(args.file, {
      format: options.format,
      offsetBytes: options.offset,
      lengthBytes: options.length,
      allowParents: options.allowParent,
      ...long('Mapping'),
    });
    await output.list(entries, COLUMNS, 'The range is empty.');
    return undefined;
  },
});
