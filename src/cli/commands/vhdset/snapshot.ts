import { ALLOW_PARENT, defineCommand, FORCE, flag, option } from '../../definition.ts';
import { SET_ARGUMENT } from './show.ts';

export const command = defineCommand({
  name: 'vhdset snapshot',
  summary: 'Keep the disk of a VHD Set as it is now',
  arguments: { set: SET_ARGUMENT },
  options: {
    id: option('--id <guid>', 'The id of the snapshot (default: a new one)'),
    writeable: flag('--writeable', 'Give the snapshot a file of its own that can be written to later'),
    force: FORCE,
    allowParent: ALLOW_PARENT,
  },
  examples: ['vhdset snapshot data.vhds', 'vhdset snapshot data.vhds --writeable'],
  changes: true,
  async run({ args, options, global, disks, output, signal, wouldDo }) {
    const service = await disks();
    const { id: snapshotId, writeable: isWriteable, force, allowParent: allowParents } = options;
    const { leafPath } = await service.setInfo(args.set, { allowParents });
    const how = { snapshotId, isWriteable, force, allowParents, signal, dryRun: global.dryRun };
    const info = await service.takeSetSnapshot(args.set, how);
    if (global.dryRun) return wouldDo(`keep ${leafPath} as a snapshot of ${args.set}`, { leafPath });
    const made = info.snapshots.at(-1);
    output.done({ snapshotId: made?.id, ...info }, `Took the snapshot ${made?.id}.`);
    return undefined;
  },
});
