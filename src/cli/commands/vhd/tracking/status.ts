import { argument, defineCommand } from '../../../definition.ts';
import { parsePath } from '../../../values/path.ts';

export const command = defineCommand({
  name: 'vhd tracking status',
  summary: 'Show whether the changed blocks of a disk are tracked, and the most recent id',
  arguments: { file: argument('The disk file', parsePath) },
  examples: ['vhd tracking status disk.vhdx --json'],
  changes: false,
  async run({ args, disks, output }) {
    const state = await (await disks()).changeTracking(args.file);
    await output.result({ path: args.file, ...state }, () =>
      output.facts([
        ['File', args.file, 'bold'],
        ['Change tracking', state.enabled ? 'on' : 'off'],
        ['Most recent id', state.mostRecentId ?? (state.enabled ? 'none: other software wrote to the disk' : null)],
        ['Newer changes', state.enabled ? (state.newerChanges ? 'yes' : 'no') : null],
      ]),
    );
    return undefined;
  },
});
