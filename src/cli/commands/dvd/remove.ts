import { defineCommand } from '../../definition.ts';
import { DRIVE_ARGUMENT, dvdSentence } from '../../drives.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'dvd remove',
  summary: 'Take a DVD drive away from a machine',
  arguments: { vm: VM_ARGUMENT, place: DRIVE_ARGUMENT },
  examples: ['dvd remove web1 scsi:0:1'],
  changes: true,
  async run({ args, global, open, output, long, wouldDo }) {
    const vm = await (await open()).getVm(args.vm);
    const dvd = await vm.removeDvdDrive(args.place, { dryRun: global.dryRun }, long(`Removing a drive of ${vm.name}`));
    if (global.dryRun)
      return wouldDo(`take the DVD drive ${dvdSentence(dvd)} from ${JSON.stringify(vm.name)}`, { drive: dvd });
    output.done(dvd, `Took the DVD drive ${dvdSentence(dvd)} from ${vm.name}.`);
    return undefined;
  },
});
