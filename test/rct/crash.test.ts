import { describe, expect, test } from 'vitest';
import { crashBothFiles } from './crash-suite.ts';

describe('a crash never hides a change', () => {
  test('at moments of a short life of disk and tracking file', async () => {
    expect(await crashBothFiles({ seed: 1, operations: 40, every: 3 })).toBeGreaterThan(50);
  });

  test('at moments of a longer one', async () => {
    expect(await crashBothFiles({ seed: 2, operations: 400, every: 23 })).toBeGreaterThan(40);
  });

  test('around a write by other software, and around the new beginning after it', async () => {
    expect(await crashBothFiles({ seed: 3, operations: 30, every: 2, foreignStep: 15 })).toBeGreaterThan(30);
  });
});
