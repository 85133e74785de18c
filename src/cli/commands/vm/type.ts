import { argument, defineCommand, flag } from '../../definition.ts';
import { typedKeys } from '../../doors.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'vm type',
  summary: "Type a text on a machine's keyboard (US layout)",
  description:
    'For the screen: a login there, a boot menu. About 25 characters a second; a character that a US keyboard has not is refused before anything is typed.',
  arguments: { vm: VM_ARGUMENT, text: argument('Printable ASCII, tabs and line feeds, at most 1024') },
  options: { enter: flag('--enter', 'Press Enter after it') },
  examples: ['vm type web1 root --enter', 'vm type web1 \'echo "hello"\' --enter'],
  changes: true,
  async run({ args, options, global, open, output, signal, wouldDo }) {
    const text = options.enter ? `${args.text}\n` : args.text;
    const presses = typedKeys(text).length;
    const vm = await (await open()).getVm(args.vm);
    const facts = { id: vm.id, name: vm.name, presses };
    if (global.dryRun) return wouldDo(`press ${presses} times on the keyboard of ${JSON.stringify(vm.name)}`, facts);
    await vm.type(text, { signal });
    output.done(facts, `Typed on ${vm.name}.`);
    return undefined;
  },
});
