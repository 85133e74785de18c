import { describe, expect, test } from 'vitest';
import { crashBetweenChanges, SHAPES } from './structure-crash-suite.ts';

describe('resize, user metadata and ids: the old or the new', () => {
  test.each(SHAPES)('of a $type disk, at every moment', async (shape) => {
    expect(await crashBetweenChanges(shape, 1)).toBeGreaterThan(200);
  });
});
