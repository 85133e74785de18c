import { defineCommand } from '../../definition.ts';
import { moveVm, VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'vm resume',
  summary: 'Let a paused or saved machine go on',
  description: 'A machine that runs already stays as it is.',
  arguments: { vm: VM_ARGUMENT },
  examples: ['vm resume web1'],
  changes: true,
  run: (context) =>
    moveVm(context, context.args.vm, {
      action: 'resume',
      verb: 'resume',
      act: (vm) => vm.resume(context.long('Resuming')),
    }),
});
