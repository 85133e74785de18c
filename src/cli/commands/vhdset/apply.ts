import { ALLOW_PARENT, defineCommand, FORCE, flag, option } from '../../definition.ts';
import { SET_ARGUMENT, SNAPSHOT_ARGUMENT } from './show.ts';

export const command = defineCommand({
  name: 'vhdset apply',
  summary: 'Make the disk of a VHD Set what a snapshot is',
  description: 'What the disk holds now is discarded, unless --keep-as keeps it as a snapshot.',
  arguments: { set: SET_ARGUMENT, snapshot: SNAPSHOT_ARGUMENT },
  options: {
    keepAs: option('--keep-as <guid>', 'Keep the present disk as a writeable snapshot of this id'),
    writeable: flag('--writeable', "Go on in a writeable snapshot's own file; it is no snapshot any more then"),
    force: FORCE,
    allowParent: ALLOW_PARENT,
  },
  examples: ['vhdset apply data.vhds 5344a6ca-b8f3-4596-9001-86b58b1364db'],
  changes: true,
  async run({ args, options, global, disks, output, signal, wouldDo }) {
    const service = await disks();
    const { keepAs: leafSnapshotId, writeable: isWriteable, force, allowParent: allowParents } = options;
    const { dryRun } = global;
    const { leafPath } = await service.setInfo(args.set, { allowParents });
    const info = await service.applySetSnapshot(args.set, args.snapshot, {
      leafSnapshotId,
      isWriteable,
      force,
      allowParents,
      signal,
      dryRun,
    });
    if (dryRun) {
      const fate = leafSnapshotId === undefined ? 'discard' : 'keep';
      return wouldDo(`apply ${args.snapshot} and ${fate} ${leafPath}`, { leafPath });
    }
    output.done(info, `Applied ${args.snapshot}; the disk is ${info.leafPath} now.`);
    return undefined;
  },
});
