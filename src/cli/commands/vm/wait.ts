import { defineCommand, option } from '../../definition.ts';
import { WAIT_CONDITIONS } from '../../doors.ts';
import { EXIT } from '../../exit-status.ts';
import { choiceOf } from '../../values/choice.ts';
import { parseDuration } from '../../values/duration.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

const ANSWERS = {
  ready: { yes: 'the guest agent answers', no: 'the guest agent does not answer' },
  heartbeat: { yes: 'the guest agent answers', no: 'the guest agent does not answer' },
  ip: { yes: 'the guest has an IP address', no: 'the guest has no IP address' },
  ssh: { yes: 'its SSH server answers', no: 'no SSH server answers' },
  off: { yes: 'the machine is off', no: 'the machine is not off' },
} as const;

export const command = defineCommand({
  name: 'vm wait',
  summary: 'Wait until a machine is ready, has an IP address, is reached by SSH or is off',
  description:
    'Ends with status 10 when the time is up, or when it cannot come true any more; ssh with 5 where this host has no way to the guest, as behind NAT.',
  arguments: { vm: VM_ARGUMENT },
  options: {
    for: option(
      '--for <ready|heartbeat|ip|ssh|off>',
      'ready, heartbeat: the guest agent answers; ip; ssh: an SSH server greets at an address; off (default ready)',
      choiceOf('condition', WAIT_CONDITIONS),
    ),
    timeout: option('--timeout <duration>', 'How long at most, as in 30s or 2m (default 120s)', parseDuration),
  },
  examples: ['vm wait web1 --for ip', 'vm wait web1 --for off --timeout 5m'],
  changes: false,
  async run({ args, options, open, output, long }) {
    const vm = await (await open()).getVm(args.vm);
    const condition = options.for ?? 'ready';
    const holds = await vm.waitFor(condition, {
      ...long(`Waiting for ${vm.name}`),
      timeoutMs: options.timeout ?? 120_000,
    });
    const { state } = await vm.info();
    const ipAddresses = holds && condition === 'ip' ? await vm.ipAddresses() : undefined;
    const answer = holds ? ANSWERS[condition].yes : `${ANSWERS[condition].no} (it is ${state})`;
    output.done(
      { id: vm.id, name: vm.name, state, condition, holds, ...(ipAddresses === undefined ? {} : { ipAddresses }) },
      `${vm.name}: ${ipAddresses === undefined ? answer : ipAddresses.join(' ')}`,
    );
    return holds ? EXIT.done : EXIT.answerNo;
  },
});
