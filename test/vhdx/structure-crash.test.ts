import { describe, expect, test } from 'vitest';
import { crashBetweenChanges, SHAPES } from './structure-crash-suite.ts';

describe('resize, user metadata and ids: the old or the new', () => {
  test.each(SHAPES)('of a $type disk, at moments of every change', async (shape) => {
    // A child has more moments, and larger tables to look at in each.
    const every = shape.type === 'differencing' ? 17 : 7;
    expect(await crashBetweenChanges(shape, every)).toBeGreaterThan(20);
  });
});
