import { randomGuid } from '../../../binary/index.ts';
import { HvError } from '../../../errors/index.ts';
import { argument, defineCommand, FORCE, flag, option } from '../../definition.ts';
import { parsePath } from '../../values/path.ts';
import { parseSize } from '../../values/size.ts';

export const command = defineCommand({
  name: 'vhd set',
  summary: "Change a disk's id or its physical sector size",
  description:
    'The contents stay, and yet count as changed: children that were made from the disk do not know it any more.',
  arguments: { file: argument('The disk file', parsePath) },
  options: {
    id: option('--id <guid>', "The virtual disk's id"),
    newId: flag('--new-id', 'Give it an id that no other disk has, as a copied disk needs'),
    physicalSectorSize: option('--physical-sector-size <size>', '512 or 4096 (4K), VHDX only', parseSize),
    force: FORCE,
  },
  examples: ['vhd set copy.vhdx --new-id', 'vhd set disk.vhdx --physical-sector-size 4K'],
  changes: true,
  async run({ args, options, global, disks, output, signal, wouldDo }) {
    const { id, newId, physicalSectorSize: physicalSectorSizeBytes, force } = options;
    if (id !== undefined && newId) throw new HvError('invalid-argument', '--id and --new-id exclude each other');
    const virtualDiskId = newId ? randomGuid() : id;
    if (virtualDiskId === undefined && physicalSectorSizeBytes === undefined) {
      throw new HvError('invalid-argument', 'nothing is to be changed', {
        hint: 'Add --new-id, --id or --physical-sector-size.',
      });
    }
    const service = await disks();
    if (global.dryRun) {
      await service.info(args.file);
      await service.mayChange(args.file, { force, signal });
      const what = [
        ...(virtualDiskId === undefined ? [] : [newId ? 'a new id' : `the id ${virtualDiskId}`]),
        ...(physicalSectorSizeBytes === undefined ? [] : [`physical sectors of ${physicalSectorSizeBytes} bytes`]),
      ];
      return wouldDo(`give ${args.file} ${what.join(' and ')}`, { path: args.file });
    }
    const info = await service.set(args.file, { virtualDiskId, physicalSectorSizeBytes }, { force, signal });
    output.done(
      info,
      `${args.file} has the id ${info.identifier} and physical sectors of ${info.physicalSectorSizeBytes} bytes.`,
    );
    return undefined;
  },
});
