import { HvError } from '../../../errors/index.ts';
import { defineCommand, option, optionList, optionOrNone } from '../../definition.ts';
import type { VmInfo, VmSettings } from '../../nouns.ts';
import { choiceOf, countOf } from '../../values/choice.ts';
import { parseDriveAddress } from '../../values/drive-address.ts';
import { parseSize } from '../../values/size.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

type DriveAddress = ReturnType<typeof parseDriveAddress>;

export const command = defineCommand({
  name: 'vm set',
  summary: 'Change settings of a machine',
  description:
    'All that are given, or none. Processors and memory need the machine to be off; a boot order counts from the next start or reset.',
  arguments: { vm: VM_ARGUMENT },
  options: {
    cpus: option('-c, --cpus <count>', 'Virtual processors', countOf('processors')),
    memory: option('-m, --memory <size>', 'Memory', parseSize),
    notes: optionOrNone('--notes <text>', 'What people write down about it', {
      flags: '--no-notes',
      summary: 'Remove the notes',
    }),
    group: optionList('--group <name>', 'Belong to these groups and no others (repeatable)', (text) => text),
    checkpoints: option(
      '--checkpoints <type>',
      'Whether snapshots are taken: Standard or Disabled',
      choiceOf('checkpoint type', ['Standard', 'Disabled']),
    ),
    bootOrder: optionList(
      '--boot-order <place>',
      'Boot from this drive, then from the next that is named (repeatable): scsi:0:1',
      parseDriveAddress,
    ),
  },
  examples: [
    'vm set web1 --cpus 4 --memory 8G',
    'vm set web1 --notes "Ann looks after it" --group web',
    'vm set web1 --boot-order scsi:0:1 --boot-order scsi:0:0',
  ],
  changes: true,
  async run({ args, options, global, open, output, wouldDo }) {
    const vm = await (await open()).getVm(args.vm);
    const settings: VmSettings = {
      ...(options.cpus === undefined ? {} : { processorCount: options.cpus }),
      ...(options.memory === undefined ? {} : { memoryBytes: options.memory }),
      ...(options.notes === undefined ? {} : { notes: options.notes ?? '' }),
      ...(options.group.length === 0 ? {} : { groups: options.group }),
      ...(options.checkpoints === undefined ? {} : { checkpointType: options.checkpoints }),
      ...(options.bootOrder.length === 0 ? {} : { bootOrder: bootOrderOf(await vm.info(), options.bootOrder) }),
    };
    if (Object.keys(settings).length === 0) {
      throw new HvError('invalid-argument', 'no setting was given', { hint: 'See: hv vm set --help' });
    }
    const info = await vm.set(settings, { dryRun: global.dryRun });
    const words = Object.keys(settings).map(wordOf).join(', ');
    if (global.dryRun) return wouldDo(`change ${words} of ${JSON.stringify(vm.name)}`, { settings });
    output.done(info, `Changed ${words} of ${vm.name}.`);
    return undefined;
  },
});

function bootOrderOf(info: VmInfo, places: readonly DriveAddress[]): NonNullable<VmSettings['bootOrder']> {
  return places.map((place) => {
    const isHere = (drive: DriveAddress): boolean =>
      drive.controllerType === place.controllerType &&
      drive.controllerNumber === place.controllerNumber &&
      drive.controllerLocation === place.controllerLocation;
    const disk = info.hardDiskDrives.find(isHere);
    if (disk) return { kind: 'HardDiskDrive', id: disk.id };
    const dvd = info.dvdDrives.find(isHere);
    if (dvd) return { kind: 'DvdDrive', id: dvd.id };
    throw new HvError(
      'not-found',
      `"${info.name}" has no drive at ${place.controllerType.toLowerCase()}:${place.controllerNumber}:${place.controllerLocation}`,
      { detail: { vm: info.name, ...place }, hint: 'See: hv disk list, hv dvd list' },
    );
  });
}

/** A setting as people call it: `processorCount` is the processor count. */
function wordOf(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).replace(' bytes', '');
}
