import { ALLOW_PARENT, argument, defineCommand, flag, option } from '../../definition.ts';
import { EXIT } from '../../exit-status.ts';
import { showBytes } from '../../output/units.ts';
import { choiceOf } from '../../values/choice.ts';
import { IMAGE_FORMATS } from '../../values/disk.ts';
import { parsePath } from '../../values/path.ts';

export const command = defineCommand({
  name: 'vhd compare',
  summary: 'Tell whether two disks hold the same (status 0), or where they differ first (status 10)',
  description:
    'The disks may have different formats, types and parents: what they hold is compared, and only what is data in either is read. Of disks of different sizes, what only the larger one has must be zeros, unless --strict says that the sizes must agree.',
  arguments: { first: argument('A disk', parsePath), second: argument('Another disk', parsePath) },
  options: {
    strict: flag('--strict', 'Disks of different sizes differ'),
    firstFormat: option(
      '--first-format <format>',
      'Format of the first disk (default: as its name ends)',
      choiceOf('format', IMAGE_FORMATS),
    ),
    secondFormat: option(
      '--second-format <format>',
      'Format of the second disk (default: as its name ends)',
      choiceOf('format', IMAGE_FORMATS),
    ),
    allowParent: ALLOW_PARENT,
  },
  examples: ['vhd compare disk.vhdx disk.raw', 'vhd compare a.vhdx b.vhdx --strict --json'],
  changes: false,
  async run({ args, options, disks, output, long }) {
    const result = await (await disks()).compare(args.first, args.second, {
      strict: options.strict,
      firstFormat: options.firstFormat,
      secondFormat: options.secondFormat,
      allowParents: options.allowParent,
      ...long('Comparing'),
    });
    const { equal, firstDifferenceBytes, firstSizeBytes, secondSizeBytes } = result;
    const sizes =
      firstSizeBytes === secondSizeBytes
        ? ''
        : ` Their sizes differ: ${showBytes(firstSizeBytes)} and ${showBytes(secondSizeBytes)}.`;
    const verdict = equal ? 'The disks hold the same.' : `The disks differ, first at byte ${firstDifferenceBytes}.`;
    await output.result(result, () => verdict + sizes);
    return equal ? undefined : EXIT.answerNo;
  },
});
