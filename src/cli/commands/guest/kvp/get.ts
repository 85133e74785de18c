import { HvError } from '../../../../errors/index.ts';
import { argument, defineCommand, option } from '../../../definition.ts';
import { terminalLine } from '../../../output/terminal-text.ts';
import { choiceOf } from '../../../values/choice.ts';
import { VM_ARGUMENT } from '../../../vm-move.ts';

export const command = defineCommand({
  name: 'guest kvp get',
  summary: 'Print the value of one key',
  arguments: { vm: VM_ARGUMENT, key: argument('Key') },
  options: {
    from: option(
      '--from <host|guest>',
      'Whose value: what the host set, or what the guest says (default host)',
      choiceOf('source', ['host', 'guest']),
    ),
  },
  examples: ['guest kvp get web1 role', 'guest kvp get web1 version --from guest'],
  changes: false,
  async run({ args, options, open, output }) {
    const vm = await (await open()).getVm(args.vm);
    const source = options.from ?? 'host';
    const pairs = await vm.guest.keyValuePairs();
    const pair = pairs.find((each) => each.source === source && each.key === args.key);
    if (!pair) {
      throw new HvError(
        'not-found',
        `the ${source} of ${JSON.stringify(vm.name)} has no key ${JSON.stringify(args.key)}`,
        {
          detail: { id: vm.id, key: args.key, source },
          hint: 'hv guest kvp list shows all of them.',
        },
      );
    }
    await output.result({ id: vm.id, name: vm.name, ...pair }, () => terminalLine(pair.value));
    return undefined;
  },
});
