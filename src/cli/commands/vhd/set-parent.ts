import { ALLOW_PARENT, argument, defineCommand, FORCE, flag } from '../../definition.ts';
import { parsePath } from '../../values/path.ts';

export const command = defineCommand({
  name: 'vhd set-parent',
  summary:
    'Make a differencing disk stand on another file: one that was moved or renamed, or the same contents elsewhere',
  description:
    'The parent must be what the disk was made from, unwritten since. --ignore-mismatch links them even so: only where it surely holds the same. Contents of neither are touched.',
  arguments: {
    file: argument('The differencing disk', parsePath),
    parent: argument('The file that it is to stand on', parsePath),
  },
  options: {
    ignoreMismatch: flag('--ignore-mismatch', 'Link them even when the parent is not what the disk was made from'),
    force: FORCE,
    allowParent: ALLOW_PARENT,
  },
  examples: ['vhd set-parent child.vhdx moved/base.vhdx', 'vhd set-parent child.vhdx copy.vhdx --ignore-mismatch'],
  changes: true,
  async run({ args, options, global, disks, output, signal, wouldDo }) {
    const { ignoreMismatch, force, allowParent: allowParents } = options;
    const { dryRun } = global;
    const info = await (await disks()).setParent(args.file, args.parent, {
      ignoreMismatch,
      force,
      allowParents,
      signal,
      dryRun,
    });
    if (dryRun) return wouldDo(`make ${args.file} stand on ${args.parent}`, { parentPath: args.parent });
    const where = info.parentFound ? '' : ', which lies outside of its folder: open it with --allow-parent';
    output.done(info, `${args.file} stands on ${args.parent} now${where}.`);
    return undefined;
  },
});
