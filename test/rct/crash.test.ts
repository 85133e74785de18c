import { describe, expect, test } from 'vitest';
import { crashBothFiles } from './crash-suite.ts';

describe('a crash never hides a change', () => {
  test('at every moment of a short life of disk and tracking file', async () => {
    expect(await crashBothFiles({ seed: 1, operations: 60, every: 1 })).toBeGreaterThan(60);
  });

  test('at moments of a longer one', async () => {
    expect(await crashBothFiles({ seed: 2, operations: 400, every: 17 })).toBeGreaterThan(40);
  });
});
