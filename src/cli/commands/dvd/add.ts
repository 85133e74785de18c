import { defineCommand, option } from '../../definition.ts';
import { dvdSentence, PLACE } from '../../drives.ts';
import { parsePath } from '../../values/path.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'dvd add',
  summary: 'Give a machine a DVD drive',
  description: 'On SCSI while the machine runs, too; a Generation 1 machine has it on IDE and must be off.',
  arguments: { vm: VM_ARGUMENT },
  options: { iso: option('--iso <file>', 'The image in it (default: empty)', parsePath), controller: PLACE },
  examples: ['dvd add web1', 'dvd add web1 --iso debian.iso'],
  changes: true,
  async run({ args, options, global, open, output, long, wouldDo }) {
    const vm = await (await open()).getVm(args.vm);
    const dvd = await vm.addDvdDrive(
      { ...options.controller, ...(options.iso === undefined ? {} : { path: options.iso }), dryRun: global.dryRun },
      long(`Adding a drive to ${vm.name}`),
    );
    if (dvd.warning !== null) output.note(dvd.warning);
    if (global.dryRun)
      return wouldDo(`give ${JSON.stringify(vm.name)} the DVD drive ${dvdSentence(dvd)}`, { drive: dvd });
    output.done(dvd, `Gave ${vm.name} the DVD drive ${dvdSentence(dvd)}.`);
    return undefined;
  },
});
