import { ALLOW_PARENT, defineCommand } from '../../definition.ts';
import { SET_ARGUMENT, showVhdSet } from './show.ts';

export const command = defineCommand({
  name: 'vhdset info',
  summary: 'Show the disk, the snapshots and the files of a VHD Set',
  arguments: { set: SET_ARGUMENT },
  options: { allowParent: ALLOW_PARENT },
  examples: ['vhdset info data.vhds', 'vhdset info data.vhds --json'],
  changes: false,
  async run({ args, options, disks, output, signal }) {
    const info = await (await disks()).setInfo(args.set, { allowParents: options.allowParent, signal });
    await output.result(info, () => showVhdSet(info, output));
    return undefined;
  },
});
