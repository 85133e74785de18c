import { defineCommand, flag } from '../../definition.ts';
import { DRIVE_ARGUMENT, diskSentence } from '../../drives.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'disk remove',
  summary: 'Detach a virtual hard disk from a machine; its file stays',
  description: 'On SCSI while the machine runs, too; on IDE the machine must be off.',
  arguments: { vm: VM_ARGUMENT, place: DRIVE_ARGUMENT },
  options: {
    discardChanges: flag('--discard-changes', 'Even where what was written since the last snapshot is lost with it'),
  },
  examples: ['disk remove web1 scsi:0:1', 'disk remove web1 scsi:0:1 --dry-run'],
  changes: true,
  async run({ args, options, global, open, output, long, wouldDo }) {
    const vm = await (await open()).getVm(args.vm);
    const drive = await vm.removeHardDiskDrive(
      args.place,
      { discardChanges: options.discardChanges, dryRun: global.dryRun },
      long(`Removing a drive of ${vm.name}`),
    );
    if (global.dryRun) return wouldDo(`detach ${diskSentence(drive)} from ${JSON.stringify(vm.name)}`, { drive });
    output.done(drive, `Detached ${diskSentence(drive)} from ${vm.name}.`);
    return undefined;
  },
});
