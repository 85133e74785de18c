import { defineCommand } from '../../definition.ts';
import { showAddress } from '../../doors.ts';
import { DVD_PLACE } from '../../drives.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'dvd eject',
  summary: "Take the image out of a machine's DVD drive, also while it runs",
  description: 'A guest that holds the tray shut is overruled.',
  arguments: { vm: VM_ARGUMENT },
  options: { controller: DVD_PLACE },
  examples: ['dvd eject web1'],
  changes: true,
  async run({ args, options, global, open, output, long, wouldDo }) {
    const vm = await (await open()).getVm(args.vm);
    const where = options.controller === undefined ? {} : { address: options.controller };
    const dvd = await vm.ejectIso({ ...where, dryRun: global.dryRun }, long(`Ejecting from ${vm.name}`));
    if (global.dryRun) return wouldDo(`empty ${showAddress(dvd)} of ${JSON.stringify(vm.name)}`, { drive: dvd });
    output.done(dvd, `${showAddress(dvd)} of ${vm.name} is empty.`);
    return undefined;
  },
});
