import { argument, defineCommand } from '../../../definition.ts';
import { parsePath } from '../../../values/path.ts';

export const command = defineCommand({
  name: 'vhd tracking disable',
  summary: 'End the tracking of changed blocks; all ids of the disk are void',
  arguments: { file: argument('The disk file', parsePath) },
  examples: ['vhd tracking disable disk.vhdx'],
  changes: true,
  async run({ args, global, disks, output, wouldDo }) {
    const service = await disks();
    if (global.dryRun) {
      const { enabled } = await service.changeTracking(args.file);
      return wouldDo(enabled ? `end the tracking of ${args.file}` : `change nothing: ${args.file} is not tracked`);
    }
    const state = await service.disableChangeTracking(args.file);
    output.done({ path: args.file, ...state }, `The changes of ${args.file} are not tracked any more.`);
    return undefined;
  },
});
