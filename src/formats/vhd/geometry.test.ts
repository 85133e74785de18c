import { expect, test } from 'vitest';
import { GIB, MIB } from './format.ts';
import { geometryBytes, geometryOf, isLargestGeometry } from './geometry.ts';

/** What Windows and Hyper-V wrote into files of theirs. */
test('the geometry of a size is what Windows gives it', () => {
  expect(geometryOf(10 * MIB)).toEqual({ cylinders: 301, heads: 4, sectorsPerTrack: 17 });
  expect(geometryOf(512 * MIB)).toEqual({ cylinders: 1040, heads: 16, sectorsPerTrack: 63 });
  expect(geometryOf(127 * GIB)).toEqual({ cylinders: 65_278, heads: 16, sectorsPerTrack: 255 });
});

test('a geometry covers no more than the disk, and from some size on it is the largest', () => {
  for (let sizeBytes = 3 * MIB; sizeBytes < 200 * GIB; sizeBytes = Math.floor((sizeBytes * 1.37) / 512) * 512) {
    const geometry = geometryOf(sizeBytes);
    expect(geometryBytes(geometry)).toBeLessThanOrEqual(sizeBytes);
    expect(geometry.cylinders).toBeLessThanOrEqual(65_535);
    expect(isLargestGeometry(geometry)).toBe(sizeBytes >= 65_535 * 16 * 255 * 512);
  }
  expect(geometryOf(2040 * GIB)).toEqual({ cylinders: 65_535, heads: 16, sectorsPerTrack: 255 });
});
