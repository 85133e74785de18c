import type { VhdSetChange } from '../../../disk/index.ts';
import { HvError } from '../../../errors/index.ts';
import { ALLOW_PARENT, defineCommand, FORCE, flag, option } from '../../definition.ts';
import { parsePath } from '../../values/path.ts';
import { SET_ARGUMENT } from './show.ts';

export const command = defineCommand({
  name: 'vhdset modify',
  summary: 'Tell a VHD Set where a snapshot was moved or where new files go, or let a snapshot go and keep its file',
  arguments: { set: SET_ARGUMENT },
  options: {
    snapshot: option('--snapshot <guid>', 'The snapshot that is meant'),
    path: option('--path <file>', "Where that snapshot's file lies now", parsePath),
    forget: flag('--forget', 'Forget that snapshot and leave its file'),
    newFiles: option('--new-files <folder>', 'Where new files are made', parsePath),
    force: FORCE,
    allowParent: ALLOW_PARENT,
  },
  examples: [
    'vhdset modify data.vhds --new-files snapshots',
    'vhdset modify data.vhds --snapshot 5344a6ca-b8f3-4596-9001-86b58b1364db --path snapshots/moved.avhdx',
  ],
  changes: true,
  async run({ args, options, global, disks, output, signal, wouldDo }) {
    const change = changeOf(options);
    const { dryRun } = global;
    const { force, allowParent: allowParents } = options;
    const info = await (await disks()).modifySet(args.set, change, { force, allowParents, signal, dryRun });
    if (dryRun) return wouldDo(`change ${args.set}`, { change });
    output.done(info, `Changed ${info.path}.`);
    return undefined;
  },
});

function changeOf(given: {
  readonly snapshot: string | undefined;
  readonly path: string | undefined;
  readonly forget: boolean;
  readonly newFiles: string | undefined;
}): VhdSetChange {
  const { snapshot, path, forget, newFiles } = given;
  const wanted = [path !== undefined, forget, newFiles !== undefined].filter(Boolean).length;
  if (wanted === 1 && newFiles !== undefined && snapshot === undefined) return { kind: 'default-path', path: newFiles };
  if (wanted === 1 && snapshot !== undefined && path !== undefined) {
    return { kind: 'snapshot-path', snapshotId: snapshot, path };
  }
  if (wanted === 1 && snapshot !== undefined && forget) return { kind: 'remove-snapshot', snapshotId: snapshot };
  throw new HvError('invalid-argument', 'one thing is changed at a time', {
    hint: 'Use --new-files, or --snapshot with --path or --forget.',
  });
}
