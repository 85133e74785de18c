import type { CreateVhdOptions } from '../../../disk/index.ts';
import { HvError } from '../../../errors/index.ts';
import { argument, defineCommand, option, optionList } from '../../definition.ts';
import { showBytes } from '../../output/units.ts';
import { choiceOf } from '../../values/choice.ts';
import { parsePath } from '../../values/path.ts';
import { parseSize } from '../../values/size.ts';

export const command = defineCommand({
  name: 'vhd create',
  summary: 'Make a virtual hard disk file',
  description:
    "dynamic grows as it is written; fixed takes its whole size at once; differencing holds only what differs from its parent. The format follows the name's ending.",
  arguments: { file: argument('The file to make', parsePath) },
  options: {
    size: option('-s, --size <size>', "Size of the disk, as in 64G (differencing: default its parent's)", parseSize),
    type: option(
      '-t, --type <type>',
      'dynamic, fixed or differencing (default dynamic)',
      choiceOf('type', ['dynamic', 'fixed', 'differencing']),
    ),
    parent: option('-p, --parent <file>', 'Parent of a differencing disk', parsePath),
    blockSize: option(
      '--block-size <size>',
      'Unit of growth: VHDX 1M to 256M (default 32M; fixed and differencing 2M), VHD 512K or 2M (default 2M)',
      parseSize,
    ),
    logicalSectorSize: option(
      '--logical-sector-size <size>',
      "512 or 4096 (default 512; differencing: its parent's)",
      parseSize,
    ),
    physicalSectorSize: option('--physical-sector-size <size>', '512 or 4096 (default 4096)', parseSize),
    from: option('--from <file>', 'A disk whose contents the new one starts with, of any format', parsePath),
    id: option('--id <id>', 'Identifier of the disk: new, keep (with --from) or a GUID (default new)'),
    format: option(
      '--format <format>',
      'vhdx, vhd or raw (default: as the name ends)',
      choiceOf('format', ['vhdx', 'vhd', 'raw']),
    ),
    allowParent: optionList(
      '--allow-parent <path>',
      'File or folder where parents of the parent may lie, beside their own folders (repeatable)',
      parsePath,
    ),
  },
  examples: [
    'vhd create disk.vhdx --size 64G',
    'vhd create disk.vhdx --size 64G --type fixed',
    'vhd create old.vhd --size 64G',
    'vhd create child.vhdx --type differencing --parent disk.vhdx',
    'vhd create copy.vhdx --from disk.qcow2',
  ],
  changes: true,
  async run({ args, options, global, output, long, wouldDo }) {
    const wanted = optionsOf(options);
    const { createVhd } = await import('../../../disk/index.ts');
    const info = await createVhd(args.file, {
      ...wanted,
      ...long('Creating'),
      ...(global.dryRun ? { dryRun: true } : {}),
    });
    if (global.dryRun) {
      return wouldDo(`make the ${info.type} disk ${args.file} of ${showBytes(info.virtualSizeBytes)}`, { disk: info });
    }
    const kind = info.type === info.format ? info.format : `${info.type} ${info.format}`;
    output.done(info, `Made ${args.file}: ${kind}, ${showBytes(info.virtualSizeBytes)}.`);
    return undefined;
  },
});

interface Given {
  readonly size: number | undefined;
  readonly type: 'dynamic' | 'fixed' | 'differencing' | undefined;
  readonly parent: string | undefined;
  readonly blockSize: number | undefined;
  readonly logicalSectorSize: number | undefined;
  readonly physicalSectorSize: number | undefined;
  readonly from: string | undefined;
  readonly id: string | undefined;
  readonly format: 'vhdx' | 'vhd' | 'raw' | undefined;
  readonly allowParent: readonly string[];
}

/** What belongs together; the limits of the format are the disk room's to check. @throws HvError `invalid-argument` */
function optionsOf(given: Given): CreateVhdOptions {
  const shared = {
    ...(given.blockSize === undefined ? {} : { blockSizeBytes: given.blockSize }),
    ...(given.format === undefined ? {} : { format: given.format }),
    logicalSectorSizeBytes: given.logicalSectorSize,
    physicalSectorSizeBytes: given.physicalSectorSize,
    sourcePath: given.from,
    virtualDiskId: given.id,
    allowParents: given.allowParent,
  };
  if (given.type === 'differencing') {
    if (given.parent === undefined) throw refusal('a differencing disk needs a parent', 'Name it with --parent.');
    return {
      type: 'differencing',
      parentPath: given.parent,
      ...(given.size === undefined ? {} : { sizeBytes: given.size }),
      ...shared,
    };
  }
  if (given.parent !== undefined) throw refusal('only a differencing disk has a parent', 'Add --type differencing.');
  if (given.size === undefined && given.from === undefined) {
    throw refusal('the disk needs a size', 'Add --size, as in --size 64G.');
  }
  return { type: given.type ?? 'dynamic', sizeBytes: given.size, ...shared };
}

function refusal(message: string, hint: string): HvError {
  return new HvError('invalid-argument', message, { hint });
}
