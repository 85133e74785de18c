import { argument, defineCommand } from '../../definition.ts';
import { DVD_PLACE, dvdSentence } from '../../drives.ts';
import { parsePath } from '../../values/path.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'dvd mount',
  summary: "Put an image into a machine's DVD drive, also while it runs",
  description: 'What is in the drive comes out first.',
  arguments: { vm: VM_ARGUMENT, iso: argument('The image', parsePath) },
  options: { controller: DVD_PLACE },
  examples: ['dvd mount web1 debian.iso', 'dvd mount web1 debian.iso --controller scsi:0:1'],
  changes: true,
  async run({ args, options, global, open, output, long, wouldDo }) {
    const vm = await (await open()).getVm(args.vm);
    const where = options.controller === undefined ? {} : { address: options.controller };
    const dvd = await vm.mountIso(args.iso, { ...where, dryRun: global.dryRun }, long(`Mounting in ${vm.name}`));
    if (dvd.warning !== null) output.note(dvd.warning);
    if (global.dryRun) return wouldDo(`have in ${JSON.stringify(vm.name)} ${dvdSentence(dvd)}`, { drive: dvd });
    output.done(dvd, `Mounted in ${vm.name} ${dvdSentence(dvd)}.`);
    return undefined;
  },
});
