import { defineCommand } from '../../definition.ts';
import { moveVm, VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'vm save',
  summary: 'Keep memory in a file and switch off',
  description: 'start goes on exactly where the machine was.',
  arguments: { vm: VM_ARGUMENT },
  examples: ['vm save web1'],
  changes: true,
  run: (context) =>
    moveVm(context, context.args.vm, { action: 'save', verb: 'save', act: (vm) => vm.save(context.long('Saving')) }),
});
