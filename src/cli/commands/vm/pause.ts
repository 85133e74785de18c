import { defineCommand } from '../../definition.ts';
import { moveVm, VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'vm pause',
  summary: 'Halt a running machine where it is',
  description: 'Its memory is kept; resume lets it go on.',
  arguments: { vm: VM_ARGUMENT },
  examples: ['vm pause web1'],
  changes: true,
  run: (context) => moveVm(context, context.args.vm, { action: 'pause', verb: 'pause', act: (vm) => vm.pause() }),
});
