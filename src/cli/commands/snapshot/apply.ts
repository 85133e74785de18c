import { defineCommand } from '../../definition.ts';
import { findSnapshot, SNAPSHOT_ARGUMENT } from '../../snapshot-moves.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'snapshot apply',
  summary: 'Bring a machine back to a snapshot',
  description:
    'What came after its present snapshot is lost; take one first to keep it. The machine is off afterwards, or saved where the snapshot holds memory: start goes on from there.',
  arguments: { vm: VM_ARGUMENT, snapshot: SNAPSHOT_ARGUMENT },
  examples: ['snapshot apply web1 "Before update"'],
  changes: true,
  async run({ args, global, open, output, long, wouldDo }) {
    const { vm, snapshot } = await findSnapshot(await open(), args.vm, args.snapshot, 'applySnapshot');
    if (global.dryRun) {
      return wouldDo(
        `bring ${JSON.stringify(vm.name)} back to ${JSON.stringify(snapshot.name)}; what came after its present snapshot would be lost`,
        {
          id: vm.id,
          name: vm.name,
          snapshotId: snapshot.id,
          snapshotName: snapshot.name,
        },
      );
    }
    await snapshot.apply(long(`Applying ${snapshot.name}`));
    const { id, name, state } = await vm.info();
    output.done(
      { id, name, state, snapshotId: snapshot.id, snapshotName: snapshot.name },
      `${name} is as it was at ${snapshot.name}: ${state}.`,
    );
    return undefined;
  },
});
