import { ALLOW_PARENT, defineCommand, FORCE, flag } from '../../definition.ts';
import { SET_ARGUMENT, SNAPSHOT_ARGUMENT } from './show.ts';

export const command = defineCommand({
  name: 'vhdset delete',
  summary: 'Delete a snapshot of a VHD Set',
  description: 'Its file goes when nothing stands on it, else with the next optimize.',
  arguments: { set: SET_ARGUMENT, snapshot: SNAPSHOT_ARGUMENT },
  options: {
    keepReference: flag('--keep-reference', 'Keep the entry as a reference point for change tracking'),
    force: FORCE,
    allowParent: ALLOW_PARENT,
  },
  examples: ['vhdset delete data.vhds 5344a6ca-b8f3-4596-9001-86b58b1364db'],
  changes: true,
  async run({ args, options, global, disks, output, signal, wouldDo }) {
    const service = await disks();
    const { keepReference: persistRct, force, allowParent: allowParents } = options;
    const { dryRun } = global;
    const how = { persistRct, force, allowParents, signal, dryRun };
    const info = await service.deleteSetSnapshot(args.set, args.snapshot, how);
    if (dryRun) return wouldDo(`delete the snapshot ${args.snapshot} of ${args.set}`);
    output.done(info, `Deleted the snapshot ${args.snapshot}.`);
    return undefined;
  },
});
