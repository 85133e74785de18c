import { ALLOW_PARENT, argument, defineCommand, option } from '../../definition.ts';
import { showBytes } from '../../output/units.ts';
import { parsePath } from '../../values/path.ts';

export const command = defineCommand({
  name: 'vhd backup',
  summary: 'Copy a tracked disk to a new file, or what changed since into the file of its last backup',
  description:
    'The target is raw or VHDX, as its name ends. <target>.backup beside it says at which id it stands; while anything is copied it says incomplete, and the same command can be run again. Changes must be tracked: see `hv vhd tracking enable`.',
  arguments: {
    file: argument('The disk file', parsePath),
    target: argument('The file to copy to', parsePath),
  },
  options: {
    since: option('--since <id>', 'The id that the last backup to this target printed: copy only what changed since'),
    allowParent: ALLOW_PARENT,
  },
  examples: [
    'vhd backup disk.vhdx /backup/disk.vhdx',
    'vhd backup disk.vhdx /backup/disk.vhdx --since rctX:5bfde23b:ce75:4303:b54f:6c18394f105c:00000001',
  ],
  changes: true,
  async run({ args, options, global, disks, output, long, wouldDo }) {
    const service = await disks();
    const { since: sinceId, allowParent: allowParents } = options;
    if (global.dryRun) {
      const { kind, copiedBytes } = await service.backup(args.file, args.target, {
        sinceId,
        allowParents,
        dryRun: true,
      });
      return wouldDo(`copy ${showBytes(copiedBytes)} of ${args.file} to ${args.target}`, { kind, copiedBytes });
    }
    const result = await service.backup(args.file, args.target, { sinceId, allowParents, ...long('Backing up') });
    const what = result.kind === 'full' ? 'Copied' : 'Copied the changes,';
    output.done(
      result,
      `${what} ${showBytes(result.copiedBytes)} to ${args.target}.\nId for the next backup: ${result.changeTrackingId}`,
    );
    return undefined;
  },
});
