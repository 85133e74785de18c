import { ALLOW_PARENT, argument, defineCommand, FORCE, flag, option } from '../../definition.ts';
import { parseCount } from '../../values/count.ts';
import { parsePath } from '../../values/path.ts';

export const command = defineCommand({
  name: 'vhd merge',
  summary: 'Merge a differencing disk into its parent, or several files of its chain into one',
  description:
    'The last file then holds everything, and the merged ones are removed. Disks in the folder that stand on the named one stand on the last one afterwards. A merge that is cut short loses nothing; run it again to go on.',
  arguments: { file: argument('The differencing disk', parsePath) },
  options: {
    depth: option('--depth <n>', 'How many files are merged, from the named one on (default 1)', parseCount),
    keep: flag('--keep', 'Leave the merged files where they are'),
    force: FORCE,
    allowParent: ALLOW_PARENT,
  },
  examples: ['vhd merge child.avhdx', 'vhd merge leaf.avhdx --depth 3', 'vhd merge child.avhdx --keep --dry-run'],
  changes: true,
  async run({ args, options, global, disks, output, long, wouldDo }) {
    const { dryRun } = global;
    const result = await (await disks()).merge(args.file, {
      depth: options.depth,
      keepFiles: options.keep,
      force: options.force,
      allowParents: options.allowParent,
      dryRun,
      ...long('Merging'),
    });
    const { path, mergedPaths, removedPaths } = result;
    if (dryRun) {
      const gone = removedPaths.length === 0 ? '' : ` and remove ${removedPaths.join(', ')}`;
      return wouldDo(`merge ${mergedPaths.join(', ')} into ${path}${gone}`, { result });
    }
    const gone = removedPaths.length === 0 ? '' : `; removed ${removedPaths.join(', ')}`;
    output.done(result, `Merged ${mergedPaths.join(', ')} into ${path}${gone}.`);
    return undefined;
  },
});
