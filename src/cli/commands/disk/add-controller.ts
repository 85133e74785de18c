import { defineCommand } from '../../definition.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'disk add-controller',
  summary: 'Give a machine one more SCSI controller',
  description: 'A machine has at most four, with 64 places each. It must be off.',
  arguments: { vm: VM_ARGUMENT },
  examples: ['disk add-controller web1'],
  changes: true,
  async run({ args, global, open, output, wouldDo }) {
    const vm = await (await open()).getVm(args.vm);
    const scsiControllerCount = await vm.addScsiController({ dryRun: global.dryRun });
    const facts = { id: vm.id, name: vm.name, scsiControllerCount };
    if (global.dryRun)
      return wouldDo(`leave ${JSON.stringify(vm.name)} with ${scsiControllerCount} SCSI controllers`, facts);
    output.done(facts, `${vm.name} has ${scsiControllerCount} SCSI controllers.`);
    return undefined;
  },
});
