import { defineCommand } from '../../definition.ts';

export const command = defineCommand({
  name: 'vhd list-attached',
  summary: 'List the disks that are mounted on this host',
  description: 'A disk is broken when its worker was killed or somebody else unmounted it: hv vhd dismount cleans up.',
  examples: ['vhd list-attached', 'vhd list-attached --json'],
  changes: false,
  async run({ disks, output }) {
    const found = await (await disks()).attached();
    await output.list(
      found,
      [
        { title: 'File', text: ({ path }) => path, style: () => 'bold' },
        {
          title: 'State',
          text: ({ state }) => state,
          style: ({ state }) => (state === 'broken' ? 'red' : undefined),
        },
        { title: 'Access', text: ({ readOnly }) => (readOnly ? 'read-only' : 'writable') },
        { title: 'Shown as', text: ({ devicePath, filePath }) => devicePath ?? filePath },
        { title: 'Partitions', text: ({ partitions }) => String(partitions.length), align: 'right' },
      ],
      'No disk is mounted.',
    );
    return undefined;
  },
});
