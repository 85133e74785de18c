import { HvError, isHvError } from '../../../errors/index.ts';
import { defineCommand, flag, option } from '../../definition.ts';
import { parseDuration } from '../../values/duration.ts';
import { moveVm, VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'vm stop',
  summary: 'Ask the guest to shut down and wait until it has',
  description:
    'When the guest has not shut down in time the machine runs on and the status is 1; force-stop switches it off.',
  arguments: { vm: VM_ARGUMENT },
  options: {
    guestAgent: flag('--guest-agent', 'Ask a guest that does not hear the power button through its agent, after 8 s'),
    timeout: option('--timeout <duration>', 'How long to wait, as in 30s or 2m (default 60s)', parseDuration),
  },
  examples: ['vm stop web1', 'vm stop web1 --timeout 2m || hv vm force-stop web1'],
  changes: true,
  run: (context) =>
    moveVm(context, context.args.vm, {
      action: 'stop',
      verb: 'shut down',
      async act(vm) {
        try {
          await vm.stop({
            ...context.long(`Stopping ${vm.name}`),
            timeoutMs: context.options.timeout ?? 60_000,
            guestAgent: context.options.guestAgent,
          });
        } catch (error) {
          if (!isHvError(error, 'aborted')) throw error;
          throw new HvError('aborted', error.message, {
            detail: { vm: vm.name, id: vm.id },
            hint: 'The guest may have been asked already, and shut down later.',
            cause: error,
          });
        }
      },
    }),
});
