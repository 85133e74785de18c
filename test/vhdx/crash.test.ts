import { describe, expect, test } from 'vitest';
import { crashEverywhere } from './crash-suite.ts';

describe('a VHDX file keeps what it promised', () => {
  for (const type of ['dynamic', 'differencing', 'fixed'] as const) {
    test(`a ${type} disk, at every moment of a short life`, async () => {
      expect(await crashEverywhere({ type, seed: 1, operations: 60, every: 1 })).toBeGreaterThan(60);
    });
    test(`a ${type} disk, at moments of a life longer than its log`, async () => {
      expect(await crashEverywhere({ type, seed: 2, operations: 700, every: 13 })).toBeGreaterThan(50);
    });
  }
});
