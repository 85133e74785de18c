import { describe, expect, test } from 'vitest';
import { crashEverywhere } from './crash-suite.ts';

describe('a VHD file keeps what it promised, at every moment of long lives', () => {
  for (const type of ['dynamic', 'differencing', 'above nothing', 'fixed'] as const) {
    for (let seed = 11; seed < 14; seed++) {
      test(`${type}, life ${seed}`, async () => {
        expect(await crashEverywhere({ type, seed, operations: 500, every: 1 })).toBeGreaterThan(400);
      });
    }
  }
});
