import { defineCommand } from '../../../definition.ts';
import { VM_ARGUMENT } from '../../../vm-move.ts';

export const command = defineCommand({
  name: 'guest kvp list',
  summary: 'List the key-value pairs of a machine: what the host told the guest, and the guest the host',
  description:
    'The guest finds the pairs of the host as lines key=value in /var/lib/hv/kvp/host, and writes its own into /var/lib/hv/kvp/guest.',
  arguments: { vm: VM_ARGUMENT },
  examples: ['guest kvp list web1'],
  changes: false,
  async run({ args, open, output }) {
    const vm = await (await open()).getVm(args.vm);
    const columns = (['source', 'key', 'value'] as const).map((field) => ({
      title: field.toUpperCase(),
      text: (pair: Readonly<Record<'source' | 'key' | 'value', string>>) => pair[field],
    }));
    await output.list(await vm.guest.keyValuePairs(), columns, 'No pairs.');
    return undefined;
  },
});
