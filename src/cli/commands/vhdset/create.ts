import { defineCommand, option } from '../../definition.ts';
import { choiceOf } from '../../values/choice.ts';
import { parsePath } from '../../values/path.ts';
import { parseSize } from '../../values/size.ts';
import { SET_ARGUMENT } from './show.ts';

export const command = defineCommand({
  name: 'vhdset create',
  summary: 'Make a VHD Set over a new disk, or over one that exists',
  description:
    "The .vhds file says which disk file is used and what its snapshots are; the disk itself lies beside it. It is hv's own format: Hyper-V's is not published.",
  arguments: { set: SET_ARGUMENT },
  options: {
    size: option('-s, --size <size>', 'Size of a new disk, as in 64G', parseSize),
    type: option('-t, --type <type>', 'dynamic (default) or fixed', choiceOf('type', ['dynamic', 'fixed'])),
    from: option('--from <file>', 'An existing VHDX file without a parent, in the folder of the set', parsePath),
  },
  examples: ['vhdset create data.vhds --size 64G', 'vhdset create data.vhds --from data.vhdx'],
  changes: true,
  async run({ args, options, global, disks, output, signal, wouldDo }) {
    const { size: sizeBytes, type, from: fromPath } = options;
    if (global.dryRun) {
      const { checkNewVhdSet } = await import('../../../disk/index.ts');
      const leafPath = await checkNewVhdSet(args.set, { sizeBytes, type, fromPath, signal });
      return wouldDo(`make the VHD Set ${args.set} with its disk ${leafPath}`, { path: args.set, leafPath });
    }
    const info = await (await disks()).createSet(args.set, { sizeBytes, type, fromPath, signal });
    output.done(info, `Made ${info.path} with its disk ${info.leafPath}.`);
    return undefined;
  },
});
