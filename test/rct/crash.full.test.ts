import { expect, test } from 'vitest';
import { crashBothFiles } from './crash-suite.ts';

test.each([11, 12, 13, 14])(
  'a crash never hides a change, life %i',
  async (seed) => {
    const foreignStep = seed % 2 === 0 ? { foreignStep: 60 } : {};
    expect(await crashBothFiles({ seed, operations: 120, every: 1, ...foreignStep })).toBeGreaterThan(200);
  },
  300_000,
);
