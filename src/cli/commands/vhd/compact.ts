import type { CompactedVolume } from '../../../disk/index.ts';
import { ALLOW_PARENT, argument, defineCommand, FORCE, flag } from '../../definition.ts';
import { showBytes } from '../../output/units.ts';
import { parsePath } from '../../values/path.ts';

export const command = defineCommand({
  name: 'vhd compact',
  summary: 'Make the file of a dynamic or differencing disk smaller',
  description:
    'Gives back blocks of zeros, and what the file systems in the disk hold free: ext2, ext3, ext4, NTFS, FAT and exFAT, each only where it was unmounted in order. Files in the disk stay as they are; what was deleted is gone for good. With --zero-only the disk holds what it held, bit for bit, so that parents of other disks are compacted too.',
  arguments: { file: argument('The disk file', parsePath) },
  options: {
    zeroOnly: flag('--zero-only', 'Look at zeros only, not into file systems'),
    force: FORCE,
    allowParent: ALLOW_PARENT,
  },
  examples: ['vhd compact disk.vhdx', 'vhd compact disk.vhdx --dry-run', 'vhd compact disk.vhdx --zero-only --json'],
  changes: true,
  async run({ args, options, global, disks, output, long, wouldDo }) {
    const { dryRun } = global;
    const result = await (await disks()).compact(args.file, {
      freeSpace: !options.zeroOnly,
      force: options.force,
      allowParents: options.allowParent,
      dryRun,
      ...long('Compacting'),
    });
    const { freedZeroBytes, freedUnmappedBytes, freedFileSystemBytes, volumes } = result;
    const reasons = [
      `${showBytes(freedZeroBytes)} of zeros`,
      `${showBytes(freedUnmappedBytes)} of unmapped blocks`,
      ...(options.zeroOnly ? [] : [`${showBytes(freedFileSystemBytes)} that file systems hold free`]),
    ];
    if (!output.json && !output.quiet) for (const volume of volumes) output.text(showVolume(volume));
    if (dryRun) return wouldDo(`give back ${reasons.join(', ')} in ${args.file}`, { result });
    const sizes = `from ${showBytes(result.fileSizeBytesBefore)} to ${showBytes(result.fileSizeBytesAfter)}`;
    output.done(result, `Compacted ${args.file} ${sizes}: ${reasons.join(', ')}.`);
    return undefined;
  },
});

function showVolume({ offset, kind, state, freeBytes, used, why }: CompactedVolume): string {
  const place = `At ${showBytes(offset)}: ${kind}`;
  return used ? `${place}, clean, ${showBytes(freeBytes ?? 0)} free` : `${place}, left alone (${state}): ${why}`;
}
