import { defineCommand } from '../../definition.ts';
import { moveVm, VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'vm force-stop',
  summary: 'Switch a machine off at once',
  description: 'As pulling the plug: the guest loses what it has not written. A saved state is thrown away.',
  arguments: { vm: VM_ARGUMENT },
  examples: ['vm force-stop web1'],
  changes: true,
  run: (context) =>
    moveVm(context, context.args.vm, { action: 'forceStop', verb: 'force-stop', act: (vm) => vm.forceStop() }),
});
