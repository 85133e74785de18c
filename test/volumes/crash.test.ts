import { describe, expect, test } from 'vitest';
import { crashCompaction } from './crash-suite.ts';

describe('compact keeps every file, whenever it is cut short', () => {
  for (const format of ['vhdx', 'vhd'] as const) {
    for (const type of ['dynamic', 'differencing'] as const) {
      const volume = format === 'vhdx' ? 'ext4' : 'fat';
      test(`${format}, ${type}, ${volume}`, async () => {
        expect(await crashCompaction({ format, type, volume, seed: 1, every: 40 })).toBeGreaterThan(2);
      });
    }
  }
});
