import { defineCommand } from '../../definition.ts';
import { findSnapshot, SNAPSHOT_ARGUMENT } from '../../snapshot-moves.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'snapshot delete',
  summary: 'Forget a snapshot of a machine that is off, running or paused',
  description:
    'What the machine and other snapshots need of its data is kept. Under a running machine the disks are merged while the guest works on.',
  arguments: { vm: VM_ARGUMENT, snapshot: SNAPSHOT_ARGUMENT },
  examples: ['snapshot delete web1 "Before update"'],
  changes: true,
  async run({ args, global, open, output, long, wouldDo }) {
    const { vm, snapshot } = await findSnapshot(await open(), args.vm, args.snapshot, 'deleteSnapshot');
    const facts = { id: snapshot.id, name: snapshot.name, vmId: vm.id, vmName: vm.name };
    if (global.dryRun)
      return wouldDo(`forget the snapshot ${JSON.stringify(snapshot.name)} of ${JSON.stringify(vm.name)}`, facts);
    await snapshot.delete(long(`Deleting ${snapshot.name}`));
    output.done({ ...facts, deleted: true }, `Forgot the snapshot ${snapshot.name} of ${vm.name}.`);
    return undefined;
  },
});
