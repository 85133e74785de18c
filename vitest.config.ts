import { defineConfig } from 'vitest/config';

// Three tiers, told apart by place: unit tests beside the code, suites under test/, long suites named *.full.test.ts.
export default defineConfig({
  test: {
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 60_000,
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
