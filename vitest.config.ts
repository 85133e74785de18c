import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * What takes longest: it starts first, so that no worker is left alone with it at the end. Without its own record of
 * earlier runs vitest goes by the size of the file, and these are short.
 */
const LONGEST = [
  'faults/commands',
  'conformance/qemu-guest',
  'sets/model',
  'fuzz/vhdx',
  'vhdx/crash',
  'vhdx/structure-crash',
  'vhd/crash',
  'faults/processes',
  'live/guest',
  'template/boot',
  'cli/process',
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const index = LONGEST.findIndex((name) => moduleId.includes(`/test/${name}.`));
      return index < 0 ? LONGEST.length : index;
    };
    return (await super.sort(files)).sort((one, other) => rank(one) - rank(other));
  }
}

// Three tiers, told apart by place: unit tests beside the code, suites under test/, long suites named *.full.test.ts.
export default defineConfig({
  test: {
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 60_000,
    sequence: { sequencer: LongestFirst },
    projects: [
      { extends: true, test: { name: 'unit', include: ['src/**/*.test.ts', 'scripts/**/*.test.mjs'] } },
      {
        extends: true,
        test: {
          name: 'suites',
          include: ['test/**/*.test.ts'],
          exclude: ['test/**/*.full.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 180_000,
        },
      },
      {
        extends: true,
        test: { name: 'full', include: ['test/**/*.full.test.ts'], testTimeout: 1_200_000, hookTimeout: 180_000 },
      },
    ],
  },
});
