import { defineCommand } from '../../definition.ts';
import { moveVm, VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'vm reset',
  summary: 'Restart a machine the hard way',
  description: 'As the reset button: the guest loses what it has not written.',
  arguments: { vm: VM_ARGUMENT },
  examples: ['vm reset web1'],
  changes: true,
  run: (context) => moveVm(context, context.args.vm, { action: 'reset', verb: 'reset', act: (vm) => vm.reset() }),
});
