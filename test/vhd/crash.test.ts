import { describe, expect, test } from 'vitest';
import { crashEverywhere } from './crash-suite.ts';

describe('a VHD file keeps what it promised', () => {
  for (const type of ['dynamic', 'differencing', 'above nothing', 'fixed'] as const) {
    test(`${type}: at every moment of a short life`, async () => {
      expect(await crashEverywhere({ type, seed: 1, operations: 50, every: 1 })).toBeGreaterThan(50);
    });
    test(`${type}: at moments of a longer life`, async () => {
      expect(await crashEverywhere({ type, seed: 2, operations: 400, every: 13 })).toBeGreaterThan(25);
    });
  }

  test('differencing: at every moment of many first steps in one MiB', async () => {
    let moments = 0;
    for (let seed = 100; seed < 130; seed++) {
      moments += await crashEverywhere({ type: 'differencing', seed, operations: 12, every: 1, isNarrow: true });
    }
    expect(moments).toBeGreaterThan(500);
  });
});
