import { describe, expect, test } from 'vitest';
import { crashCompaction } from './crash-suite.ts';

describe('compact keeps every file, at every moment of it', () => {
  for (const format of ['vhdx', 'vhd'] as const) {
    for (const type of ['dynamic', 'differencing'] as const) {
      for (const volume of ['fat', 'ext4'] as const) {
        test(`${format}, ${type}, ${volume}`, async () => {
          for (const seed of [1, 2, 3]) {
            expect(await crashCompaction({ format, type, volume, seed, every: 1 })).toBeGreaterThan(3);
          }
        });
      }
    }
  }
});
