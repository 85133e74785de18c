import type { ConvertResult } from '../../../disk/index.ts';
import { ALLOW_PARENT, argument, defineCommand, option } from '../../definition.ts';
import { showBytes } from '../../output/units.ts';
import { choiceOf } from '../../values/choice.ts';
import { DISK_TYPES, IMAGE_FORMATS } from '../../values/disk.ts';
import { parsePath } from '../../values/path.ts';
import { parseSize } from '../../values/size.ts';

export const command = defineCommand({
  name: 'vhd convert',
  summary: 'Copy a disk into a new file of another format or type',
  description:
    "The copy holds everything that the disk has from its parents, and zeros take no space in it; a differencing copy holds only what its parent has not. Formats follow the names' endings: vhdx, vhd, raw (img), qcow2, vmdk and vdi. The last three are read through qemu-img, and refused where they name other files. Interrupted, it leaves nothing behind.",
  arguments: {
    source: argument('The disk to copy', parsePath),
    target: argument('The file to make', parsePath),
  },
  options: {
    format: option(
      '--format <format>',
      'Format of the target (default: as its name ends)',
      choiceOf('format', IMAGE_FORMATS),
    ),
    sourceFormat: option(
      '--source-format <format>',
      'Format of the source (default: as its name ends)',
      choiceOf('format', IMAGE_FORMATS),
    ),
    type: option('-t, --type <type>', 'dynamic, fixed or differencing (default dynamic)', choiceOf('type', DISK_TYPES)),
    parent: option('-p, --parent <file>', 'Parent of a differencing target', parsePath),
    size: option('-s, --size <size>', "A larger size for the target (default: the source's)", parseSize),
    blockSize: option(
      '--block-size <size>',
      'Unit of growth of the target: VHDX 1M to 256M, VHD 512K or 2M',
      parseSize,
    ),
    logicalSectorSize: option(
      '--logical-sector-size <size>',
      "512 or 4096 (default: the source's). Partitions are not found on a disk whose sectors change",
      parseSize,
    ),
    physicalSectorSize: option('--physical-sector-size <size>', "512 or 4096 (default: the source's)", parseSize),
    id: option('--id <id>', "Identifier of the target: new, keep (the source's) or a GUID (default new)"),
    allowParent: ALLOW_PARENT,
  },
  examples: [
    'vhd convert disk.vhdx disk.raw',
    'vhd convert disk.qcow2 disk.vhdx --type fixed',
    'vhd convert changed.vhdx child.vhdx --type differencing --parent base.vhdx',
  ],
  changes: true,
  async run({ args, options, global, disks, output, long, wouldDo }) {
    const result = await (await disks()).convert(args.source, args.target, {
      format: options.format,
      sourceFormat: options.sourceFormat,
      type: options.type ?? (options.parent === undefined ? undefined : 'differencing'),
      parentPath: options.parent,
      sizeBytes: options.size,
      blockSizeBytes: options.blockSize,
      logicalSectorSizeBytes: options.logicalSectorSize,
      physicalSectorSizeBytes: options.physicalSectorSize,
      virtualDiskId: options.id,
      allowParents: options.allowParent,
      dryRun: global.dryRun,
      ...long('Copying'),
    });
    if (global.dryRun)
      return wouldDo(`copy ${args.source} to the ${kindOf(result)} file ${args.target}`, { ...result });
    const sizes = `${showBytes(result.virtualSizeBytes)}, ${showBytes(result.copiedBytes)} of it data`;
    output.done(result, `Made ${args.target}: ${kindOf(result)}, ${sizes}.`);
    return undefined;
  },
});

function kindOf({ format, type }: ConvertResult): string {
  return type === format ? format : `${type} ${format}`;
}
