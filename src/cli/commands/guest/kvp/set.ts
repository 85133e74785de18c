import { argument, defineCommand } from '../../../definition.ts';
import { validPair } from '../../../doors.ts';
import { VM_ARGUMENT } from '../../../vm-move.ts';

export const command = defineCommand({
  name: 'guest kvp set',
  summary: 'Tell a guest a key-value pair, now or as soon as its agent runs',
  arguments: {
    vm: VM_ARGUMENT,
    key: argument('Letters, digits, dots, dashes, underscores'),
    value: argument('One line, at most 1024 bytes'),
  },
  examples: ['guest kvp set web1 role "web server"'],
  changes: true,
  async run({ args, global, open, output, wouldDo }) {
    const { key, value } = validPair(args.key, args.value);
    const vm = await (await open()).getVm(args.vm);
    const facts = { id: vm.id, name: vm.name, source: 'host', key, value };
    if (global.dryRun) return wouldDo(`tell ${JSON.stringify(vm.name)} ${key}=${value}`, facts);
    await vm.guest.setKeyValuePair(key, value);
    output.done(facts, `${vm.name}: ${key}=${value}`);
    return undefined;
  },
});
