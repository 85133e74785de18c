import { defineCommand } from '../../definition.ts';
import { checkStart } from '../../start-check.ts';
import { moveVm, VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'vm start',
  summary: 'Start a machine, or go on from its saved state',
  description:
    'A machine that runs already stays as it is. Returns when the machine runs; `hv vm wait` waits for its guest.',
  arguments: { vm: VM_ARGUMENT },
  examples: ['vm start web1', 'vm start web1 && hv vm wait web1 --for ip'],
  changes: true,
  run: (context) =>
    moveVm(context, context.args.vm, {
      action: 'start',
      verb: 'start',
      check: async (vm) => checkStart(await context.open(), vm),
      act: (vm) => vm.start(context.long(`Starting ${vm.name}`)),
    }),
});
