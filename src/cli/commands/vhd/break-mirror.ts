import { argument, defineCommand, flag } from '../../definition.ts';
import { parsePath } from '../../values/path.ts';

export const command = defineCommand({
  name: 'vhd break-mirror',
  summary: "End the mirror of a machine's disk",
  description: 'The mirror stays as a disk of its own, with what the machine had written up to this moment.',
  arguments: { file: argument("The machine's disk", parsePath) },
  options: { switch: flag('--switch', 'Have the machine go on with the mirror, and leave its former file') },
  examples: ['vhd break-mirror web1.vhdx', 'vhd break-mirror web1.vhdx --switch'],
  changes: true,
  async run({ args, options, global, disks, output, wouldDo }) {
    if (global.dryRun) return wouldDo(`break the mirror of ${args.file}`, { path: args.file, switch: options.switch });
    const broken = await (await disks()).breakMirror(args.file, { switchToMirror: options.switch });
    output.done({ ...broken, state: 'broken' }, `The machine goes on with ${broken.path}.`);
    return undefined;
  },
});
