import { access, constants, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fromSystemError, HvError, isSystemError } from '../../../errors/index.ts';
import { argument, defineCommand, flag, option } from '../../definition.ts';
import { loadTemplateBuilder } from '../../doors.ts';
import { showBytes } from '../../output/units.ts';
import { parsePath } from '../../values/path.ts';
import { parseSize } from '../../values/size.ts';

export const command = defineCommand({
  name: 'template build-linux',
  summary: 'Make a bootable disk with a small Linux (Debian kernel, busybox, guest agent)',
  description:
    'Boots in both generations, takes an address by DHCP and answers on its serial port. Debian packages are downloaded once; later builds copy the finished disk. Needs no root.',
  arguments: { file: argument('The VHDX file to make', parsePath) },
  options: {
    size: option('-s, --size <size>', 'Size of the disk (default 2G)', parseSize),
    refresh: flag('--refresh', 'Build anew with the newest packages'),
  },
  examples: ['template build-linux linux.vhdx', 'template build-linux linux.vhdx --size 8G --refresh'],
  changes: true,
  async run({ args, options, global, output, long, wouldDo }) {
    if (global.dryRun) {
      await checkNewFile(args.file);
      return wouldDo(`build a Linux template at ${args.file}`, { path: args.file });
    }
    const { buildLinuxTemplate } = await loadTemplateBuilder();
    const template = await buildLinuxTemplate(args.file, {
      ...long('Template'),
      refresh: options.refresh,
      ...(options.size === undefined ? {} : { sizeBytes: options.size }),
    });
    const origin = template.fromCache ? 'from the cache' : 'newly built';
    output.done(
      template,
      `Made ${template.path}: Linux ${template.kernelVersion}, ${showBytes(template.virtualSizeBytes)}, ${origin}.`,
    );
    return undefined;
  },
});

async function checkNewFile(path: string): Promise<void> {
  if (!path.toLowerCase().endsWith('.vhdx')) {
    throw new HvError('invalid-argument', `the template's name must end with .vhdx: ${path}`, { detail: { path } });
  }
  try {
    await access(dirname(path), constants.W_OK);
    await stat(path);
  } catch (error) {
    if (isSystemError(error, 'ENOENT') && error.syscall === 'stat') return;
    throw fromSystemError(error, `cannot make ${path}`, { path });
  }
  throw new HvError('already-exists', `${path} exists already`, {
    detail: { path },
    hint: 'Choose another name, or delete the file first.',
  });
}
