import { argument, defineCommand } from '../../../definition.ts';
import { parsePath } from '../../../values/path.ts';

export const command = defineCommand({
  name: 'vhd metadata list',
  summary: "Show a VHDX file's user metadata items",
  arguments: { file: argument('The disk file', parsePath) },
  examples: ['vhd metadata list disk.vhdx', 'vhd metadata list disk.vhdx --json'],
  changes: false,
  async run({ args, disks, output }) {
    await output.list(
      await (await disks()).listMetadata(args.file),
      [
        { title: 'Id', text: ({ id }) => id },
        { title: 'Bytes', text: ({ lengthBytes }) => String(lengthBytes), align: 'right' },
      ],
      'No user metadata.',
    );
    return undefined;
  },
});
