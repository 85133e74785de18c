import { argument, defineCommand } from '../../../definition.ts';
import { parsePath } from '../../../values/path.ts';

export const command = defineCommand({
  name: 'vhd tracking enable',
  summary: 'Track from now on which blocks of a VHDX file change',
  description:
    'They are kept in a file beside the disk, <file>.rct, which goes where the disk goes. Everything that hv does to the disk is tracked, crashes included; a write by other software voids what is known, and a query says so.',
  arguments: { file: argument('The disk file', parsePath) },
  examples: ['vhd tracking enable disk.vhdx'],
  changes: true,
  async run({ args, global, disks, output, wouldDo }) {
    const service = await disks();
    if (global.dryRun) {
      const before = await service.changeTracking(args.file);
      return wouldDo(before.enabled ? `change nothing: the changes of ${args.file} are tracked` : `track ${args.file}`);
    }
    const state = await service.enableChangeTracking(args.file);
    output.done({ path: args.file, ...state }, `Tracking ${args.file}. Its id: ${state.mostRecentId}`);
    return undefined;
  },
});
