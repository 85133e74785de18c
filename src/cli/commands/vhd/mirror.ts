import { argument, defineCommand, flag } from '../../definition.ts';
import { parsePath } from '../../values/path.ts';

export const command = defineCommand({
  name: 'vhd mirror',
  summary: "Mirror a running machine's disk to a new file",
  description:
    'Returns when both files hold the same; from then on every write of the machine goes to both, until the mirror is broken or the machine goes off. Interrupting it stops waiting, not the mirror; run it again to wait on.',
  arguments: { file: argument("The machine's disk", parsePath), target: argument('The new file', parsePath) },
  options: {
    break: flag('--break', 'Break the mirror as soon as both are the same: the target is then a copy of that moment'),
    switch: flag('--switch', 'Have the machine go on with the target as soon as both are the same'),
  },
  examples: ['vhd mirror web1.vhdx /mnt/new/web1.vhdx', 'vhd mirror web1.vhdx /mnt/new/web1.vhdx --switch'],
  changes: true,
  async run({ args, options, global, disks, output, long, wouldDo }) {
    const facts = { path: args.file, mirrorPath: args.target };
    if (global.dryRun) return wouldDo(`mirror ${args.file} to ${args.target}`, facts);
    const service = await disks();
    await service.mirror(args.file, args.target, long('Mirroring'));
    if (!options.break && !options.switch) {
      output.done({ ...facts, state: 'synchronized' }, `${args.file} is mirrored to ${args.target}.`);
      return undefined;
    }
    const broken = await service.breakMirror(args.file, { switchToMirror: options.switch });
    output.done({ ...broken, state: 'broken' }, `The machine goes on with ${broken.path}.`);
    return undefined;
  },
});
