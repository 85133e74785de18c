import { defineCommand } from '../../definition.ts';
import { placeText, showQos } from '../../drives.ts';
import { showBytes } from '../../output/units.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'disk list',
  summary: "Show a machine's hard disk drives",
  arguments: { vm: VM_ARGUMENT },
  examples: ['disk list web1', 'disk list web1 --json'],
  changes: false,
  async run({ args, open, output }) {
    const vm = await (await open()).getVm(args.vm);
    await output.list(
      await vm.getHardDiskDrives(),
      [
        { title: 'Place', text: (drive) => placeText(drive) },
        { title: 'Size', align: 'right', text: ({ sizeBytes }) => (sizeBytes === null ? '?' : showBytes(sizeBytes)) },
        { title: 'Bounds', text: ({ qos }) => showQos(qos) },
        { title: 'File', text: ({ path }) => path },
      ],
      'No hard disk drives.',
    );
    return undefined;
  },
});
