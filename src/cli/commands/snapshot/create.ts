import { HvError, isHvError } from '../../../errors/index.ts';
import { argument, defineCommand, option } from '../../definition.ts';
import { judgeMove, validName } from '../../doors.ts';
import { choiceOf } from '../../values/choice.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'snapshot create',
  summary: 'Keep a machine as it is now: disks, settings and, unless it is off, memory',
  arguments: { vm: VM_ARGUMENT, name: argument('Name of the new snapshot') },
  options: {
    type: option(
      '--type <type>',
      'Standard, Production or ProductionOnly (default Standard)',
      choiceOf('snapshot type', ['Standard', 'Production', 'ProductionOnly']),
    ),
  },
  examples: ['snapshot create web1 "Before update"'],
  changes: true,
  async run({ args, options, global, open, output, long, wouldDo }) {
    const hv = await open();
    const vm = await hv.getVm(args.vm);
    const type = options.type ?? 'Standard';
    if (global.dryRun) {
      const name = validName(args.name, 'snapshot name');
      judgeMove('createSnapshot', await vm.state(), vm);
      const { snapshotTypes } = await hv.capabilities();
      if (!snapshotTypes.includes(type)) {
        throw new HvError('unsupported', `this host takes no ${type} snapshots`, {
          detail: { type, snapshotTypes: [...snapshotTypes] },
          hint: `Use --type ${snapshotTypes.join(' or ')}.`,
        });
      }
      const existing = await hv.getSnapshot(vm.id, name).catch((error: unknown) => {
        if (isHvError(error, 'not-found')) return undefined;
        throw error;
      });
      if (existing) {
        throw new HvError(
          'already-exists',
          `"${vm.name}" has a snapshot named ${JSON.stringify(existing.name)} already`,
          {
            detail: { vm: vm.name, name: existing.name, id: existing.id },
          },
        );
      }
      return wouldDo(`take a ${type} snapshot ${JSON.stringify(name)} of ${JSON.stringify(vm.name)}`, {
        vmId: vm.id,
        vmName: vm.name,
        name,
        type,
      });
    }
    const { info } = await vm.createSnapshot(args.name, type, long(`Taking ${args.name}`));
    output.done(info, `Took the snapshot ${info.name} of ${info.vmName} (${info.id}).`);
    return undefined;
  },
});
