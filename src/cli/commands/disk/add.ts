import { argument, defineCommand, flag, option } from '../../definition.ts';
import { diskSentence, PARENTS, PLACE, QOS_OPTIONS, qosOf } from '../../drives.ts';
import { parsePath } from '../../values/path.ts';
import { parseSize } from '../../values/size.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'disk add',
  summary: 'Attach a virtual hard disk to a machine',
  description: 'On SCSI while the machine runs, too; on IDE the machine must be off.',
  arguments: { vm: VM_ARGUMENT, file: argument('The virtual hard disk', parsePath) },
  options: {
    new: option('--new <size>', 'Make it: a dynamic VHDX of this size', parseSize),
    physical: flag('--physical', 'The file is a block device of this host: pass it through, for nobody else'),
    controller: PLACE,
    ...QOS_OPTIONS,
    allowParent: PARENTS,
  },
  examples: [
    'disk add web1 data.vhdx',
    'disk add web1 data.vhdx --new 100G --controller scsi:0:1 --maximum-iops 500',
    'disk add web1 /dev/sdb --physical',
  ],
  changes: true,
  async run({ args, options, global, open, output, long, wouldDo }) {
    const vm = await (await open()).getVm(args.vm);
    const drive = await vm.addHardDiskDrive(
      {
        path: args.file,
        isPhysical: options.physical,
        ...options.controller,
        ...(options.new === undefined ? {} : { newSizeBytes: options.new }),
        ...(options.allowParent.length === 0 ? {} : { allowedParents: options.allowParent }),
        qos: qosOf(options),
        dryRun: global.dryRun,
      },
      long(`Adding a drive to ${vm.name}`),
    );
    if (global.dryRun) return wouldDo(`attach ${diskSentence(drive)} to ${JSON.stringify(vm.name)}`, { drive });
    output.done(drive, `Attached ${diskSentence(drive)} to ${vm.name}.`);
    return undefined;
  },
});
