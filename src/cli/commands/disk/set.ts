import { defineCommand, option } from '../../definition.ts';
import { DRIVE_ARGUMENT, diskSentence, PARENTS, QOS_OPTIONS, qosOf, showQos } from '../../drives.ts';
import { parsePath } from '../../values/path.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'disk set',
  summary: 'Bound what a drive may ask of its disk, or give it another disk',
  description: 'Bounds hold at once, also for a running guest. For another disk the machine must be off.',
  arguments: { vm: VM_ARGUMENT, place: DRIVE_ARGUMENT },
  options: {
    ...QOS_OPTIONS,
    file: option('--file <file>', 'Another virtual hard disk', parsePath),
    allowParent: PARENTS,
  },
  examples: ['disk set web1 scsi:0:1 --maximum-iops 500', 'disk set web1 scsi:0:0 --maximum-bandwidth none'],
  changes: true,
  async run({ args, options, global, open, output, long, wouldDo }) {
    const vm = await (await open()).getVm(args.vm);
    const drive = await vm.setHardDiskDrive(
      args.place,
      {
        qos: qosOf(options),
        ...(options.file === undefined ? {} : { path: options.file }),
        ...(options.allowParent.length === 0 ? {} : { allowedParents: options.allowParent }),
        dryRun: global.dryRun,
      },
      long(`Changing a drive of ${vm.name}`),
    );
    const text = `${diskSentence(drive)} of ${JSON.stringify(vm.name)}: bounds ${showQos(drive.qos)}`;
    if (global.dryRun) return wouldDo(`have ${text}`, { drive });
    output.done(drive, `Set ${text}.`);
    return undefined;
  },
});
