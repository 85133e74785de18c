import type { VhdCheck } from '../../../disk/index.ts';
import { ALLOW_PARENT, argument, defineCommand, FORCE, flag, option } from '../../definition.ts';
import { EXIT } from '../../exit-status.ts';
import { choiceOf } from '../../values/choice.ts';
import { parsePath } from '../../values/path.ts';

export const command = defineCommand({
  name: 'vhd check',
  summary: 'Check a disk file against every rule of its format, and its parents',
  description:
    'Each finding with its place in the file. --repair does only what the file itself proves: it replays the log of a file that was not closed in order, and rewrites a damaged copy of what is there twice. Ends with 10 when something is wrong.',
  arguments: { file: argument('The disk file', parsePath) },
  options: {
    repair: flag('--repair', 'Set right what the file proves'),
    format: option(
      '--format <format>',
      'vhdx, vhd or raw (default: as the name ends)',
      choiceOf('format', ['vhdx', 'vhd', 'raw']),
    ),
    force: FORCE,
    allowParent: ALLOW_PARENT,
  },
  examples: ['vhd check disk.vhdx', 'vhd check disk.vhdx --repair'],
  changes: true,
  async run({ args, options, global, disks, output, long }) {
    const { repair, format, force, allowParent: allowParents } = options;
    const result = await (await disks()).check(args.file, {
      repair: repair && !global.dryRun,
      format,
      force,
      allowParents,
      ...long('Checking'),
    });
    const would = repair && global.dryRun ? result.findings.filter((each) => each.repair === 'possible') : [];
    output.done(global.dryRun ? { dryRun: true, ...result, wouldRepair: would } : result, showCheck(result));
    return result.isSound ? EXIT.done : EXIT.answerNo;
  },
});

function showCheck({ path, findings, moreFindings, repaired, isSound }: VhdCheck): string {
  const lines = findings.map((each) => {
    const place = each.offsetBytes === null ? '' : ` at ${each.offsetBytes}`;
    const value = each.value === undefined ? '' : ` (${each.value})`;
    const state = repaired.includes(each) ? ', repaired' : each.repair === 'possible' ? ', can be repaired' : '';
    return `${each.severity} ${each.code}${place}: ${each.message}${value}${state}`;
  });
  if (moreFindings > 0) lines.push(`and ${moreFindings} more`);
  return [...lines, isSound ? `${path} is sound.` : `${path} is not sound.`].join('\n');
}
