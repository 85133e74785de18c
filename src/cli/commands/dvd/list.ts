import { defineCommand } from '../../definition.ts';
import { placeText } from '../../drives.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'dvd list',
  summary: "Show a machine's DVD drives and what is in them",
  arguments: { vm: VM_ARGUMENT },
  examples: ['dvd list web1', 'dvd list web1 --json'],
  changes: false,
  async run({ args, open, output }) {
    const vm = await (await open()).getVm(args.vm);
    await output.list(
      await vm.getDvdDrives(),
      [
        { title: 'Place', text: (drive) => placeText(drive) },
        { title: 'Image', text: ({ path }) => path ?? '-' },
      ],
      'No DVD drives.',
    );
    return undefined;
  },
});
