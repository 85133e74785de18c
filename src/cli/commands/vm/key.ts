import { argument, defineCommand } from '../../definition.ts';
import { parseKeys } from '../../doors.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'vm key',
  summary: "Press keys together on a machine's keyboard",
  description:
    "Keys: a-z, 0-9, f1-f12, ctrl, alt, shift, meta (each also with right-), enter, escape, tab, space, backspace, delete, insert, home, end, page-up, page-down, up, down, left, right, caps-lock, num-lock, scroll-lock, print-screen, pause, menu, and the characters - = [ ] \\ ; ' ` , . /",
  arguments: { vm: VM_ARGUMENT, keys: argument('Joined by +, as in ctrl+alt+del') },
  examples: ['vm key web1 ctrl+alt+del', 'vm key web1 alt+f2'],
  changes: true,
  async run({ args, global, open, output, wouldDo }) {
    const keys = parseKeys(args.keys);
    const vm = await (await open()).getVm(args.vm);
    const facts = { id: vm.id, name: vm.name, keys };
    if (global.dryRun) return wouldDo(`press ${keys.join('+')} on ${JSON.stringify(vm.name)}`, facts);
    await vm.key(args.keys);
    output.done(facts, `Pressed ${keys.join('+')} on ${vm.name}.`);
    return undefined;
  },
});
