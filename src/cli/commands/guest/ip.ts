import { defineCommand } from '../../definition.ts';
import { EXIT } from '../../exit-status.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'guest ip',
  summary: "Print a guest's IP addresses, as its agent reports them",
  description: 'One line an address. Ends with status 10 when none is known.',
  arguments: { vm: VM_ARGUMENT },
  examples: ['guest ip web1', 'guest ip web1 --json'],
  changes: false,
  async run({ args, open, output }) {
    const vm = await (await open()).getVm(args.vm);
    const { networkAdapters } = await vm.info();
    const rows = networkAdapters.flatMap(({ name, macAddress, ipAddresses }) =>
      ipAddresses.map((address) => ({ adapter: name, macAddress, address })),
    );
    await output.list(rows, [{ title: 'ADDRESS', text: (row) => row.address }], 'No address is known.');
    return rows.length === 0 ? EXIT.answerNo : EXIT.done;
  },
});
