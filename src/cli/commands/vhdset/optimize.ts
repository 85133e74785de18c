import { ALLOW_PARENT, defineCommand, FORCE } from '../../definition.ts';
import { SET_ARGUMENT } from './show.ts';

export const command = defineCommand({
  name: 'vhdset optimize',
  summary: 'Merge away the files of a VHD Set that no snapshot needs',
  description: 'The disk and its snapshots stay as they are. Cut short, it goes on with the next change of the set.',
  arguments: { set: SET_ARGUMENT },
  options: { force: FORCE, allowParent: ALLOW_PARENT },
  examples: ['vhdset optimize data.vhds'],
  changes: true,
  async run({ args, options, global, disks, output, long, wouldDo }) {
    const service = await disks();
    const { force, allowParent: allowParents } = options;
    const before = await service.setInfo(args.set, { allowParents });
    if (global.dryRun) {
      await service.optimizeSet(args.set, { force, allowParents, dryRun: true });
      const count = before.unneededPaths.length;
      return wouldDo(`merge away ${count} file${count === 1 ? '' : 's'}`, { unneededPaths: before.unneededPaths });
    }
    const info = await service.optimizeSet(args.set, { force, allowParents, ...long('Optimizing') });
    const gone = before.allPaths.length - info.allPaths.length;
    output.done(info, `Merged away ${gone} file${gone === 1 ? '' : 's'}.`);
    return undefined;
  },
});
