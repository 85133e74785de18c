import { HvError } from '../../../errors/index.ts';
import { ALLOW_PARENT, argument, defineCommand, flag, option } from '../../definition.ts';
import { showBytes } from '../../output/units.ts';
import { parsePath } from '../../values/path.ts';
import { parseSize } from '../../values/size.ts';

export const command = defineCommand({
  name: 'vhd changes',
  summary: 'List the ranges of a disk that may have changed since an id, and make a new id for this moment',
  description:
    'Never fewer ranges than changed; more are possible, after a crash above all. Works while a machine runs with the disk. The new id is for the next time; --peek makes none.',
  arguments: { file: argument('The disk file', parsePath) },
  options: {
    since: option('--since <id>', 'The id that an earlier call, a backup or `vhd tracking enable` gave (required)'),
    offset: option('--offset <size>', 'Where to begin (default 0)', parseSize),
    length: option('--length <size>', 'How far to look (default: to the end)', parseSize),
    peek: flag('--peek', 'Make no new id'),
    allowParent: ALLOW_PARENT,
  },
  examples: [
    'vhd changes disk.vhdx --since rctX:5bfde23b:ce75:4303:b54f:6c18394f105c:00000001',
    'vhd changes disk.vhdx --since rctX:5bfde23b:ce75:4303:b54f:6c18394f105c:00000001 --peek --json',
  ],
  changes: true,
  async run({ args, options, global, disks, output, signal, wouldDo }) {
    const { since, offset, length, allowParent } = options;
    if (since === undefined) {
      throw new HvError('invalid-argument', 'an id is needed', {
        hint: 'Add --since ID; see `hv vhd tracking status`.',
      });
    }
    const answer = await (await disks()).queryChanges(args.file, since, {
      offsetBytes: offset,
      lengthBytes: length,
      takeReferencePoint: !options.peek && !global.dryRun,
      allowParents: allowParent,
      signal,
    });
    const changedBytes = answer.ranges.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
    const count = answer.ranges.length === 1 ? '1 range' : `${answer.ranges.length} ranges`;
    if (global.dryRun) return wouldDo(`list ${count} and make a new id`, { changedBytes });
    await output.result({ path: args.file, sinceId: since, ...answer, changedBytes }, () =>
      [
        ...answer.ranges.map((range) => `${range.offsetBytes} ${range.lengthBytes}`),
        `${count}, ${showBytes(changedBytes)}`,
        ...(answer.referencePointId === null ? [] : [`Id of this moment: ${answer.referencePointId}`]),
      ].join('\n'),
    );
    return undefined;
  },
});
