import { argument, defineCommand, FORCE } from '../../../definition.ts';
import { parsePath } from '../../../values/path.ts';

export const command = defineCommand({
  name: 'vhd metadata delete',
  summary: "Delete one of a VHDX file's user metadata items",
  arguments: { file: argument('The disk file', parsePath), id: argument("The item's GUID") },
  options: { force: FORCE },
  examples: ['vhd metadata delete disk.vhdx 01234567-89ab-cdef-0123-456789abcdef'],
  changes: true,
  async run({ args, options, global, disks, output, signal, wouldDo }) {
    const service = await disks();
    const facts = { path: args.file, id: args.id };
    if (global.dryRun) {
      await service.getMetadata(args.file, args.id);
      await service.mayChange(args.file, { force: options.force, signal });
      return wouldDo(`delete the item ${args.id} of ${args.file}`, facts);
    }
    await service.deleteMetadata(args.file, args.id, { force: options.force, signal });
    output.done(facts, `Deleted the item ${args.id} of ${args.file}.`);
    return undefined;
  },
});
