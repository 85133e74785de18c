import { ALLOW_PARENT, argument, defineCommand, FORCE, flag, option } from '../../definition.ts';
import { parseCount } from '../../values/count.ts';
import { parsePath } from '../../values/path.ts';

export const command = defineCommand({
  name: 'vhd fork',
  summary: 'Make a second branch of a disk: a copy of its file that stands on the same parent',
  description:
    'Both go on by themselves. The new file is whole under its name, or not there at all; with --existing, the old file keeps it until then.',
  arguments: {
    file: argument('The disk file', parsePath),
    new: argument('The file to make', parsePath),
  },
  options: {
    depth: option('--depth <n>', 'How many files of the chain go into the new one (default 1)', parseCount),
    existing: flag('--existing', 'Give up the contents of a disk of the same format and size that is there already'),
    force: FORCE,
    allowParent: ALLOW_PARENT,
  },
  examples: ['vhd fork child.avhdx branch.avhdx', 'vhd fork leaf.avhdx branch.avhdx --depth 2'],
  changes: true,
  async run({ args, options, global, disks, output, long, wouldDo }) {
    const { depth, existing, force, allowParent: allowParents } = options;
    const { dryRun } = global;
    const info = await (await disks()).fork(args.file, args.new, {
      depth,
      existing,
      force,
      allowParents,
      dryRun,
      ...long('Forking'),
    });
    if (dryRun) return wouldDo(`copy ${args.file} to ${info.path}`, { path: info.path });
    const where = info.parentPath === null ? '' : `, on ${info.parentPath}`;
    output.done(info, `Made ${info.path}${where}.`);
    return undefined;
  },
});
