import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { OwnedRanges, zeroRuns } from './free-runs.ts';

describe('runs of free bits', () => {
  it('are those that a look at every bit finds', () => {
    const bytes = fc.array(fc.oneof(fc.constantFrom(0, 0xff), fc.nat(255)), { maxLength: 24 });
    fc.assert(
      fc.property(bytes, fc.nat(200), (list, wanted) => {
        const bitmap = Uint8Array.from(list);
        const bits = Math.min(wanted, bitmap.length * 8);
        const found = new Uint8Array(bits);
        let last = -1;
        for (const { first, count } of zeroRuns(bitmap, bits)) {
          expect(first).toBeGreaterThan(last);
          last = first + count;
          found.fill(1, first, first + count);
        }
        const isFree = (bit: number): number => (((bitmap[bit >> 3] ?? 0) >> (bit & 7)) & 1) ^ 1;
        expect([...found]).toEqual(Array.from({ length: bits }, (_none, bit) => isFree(bit)));
      }),
    );
  });
});

describe('owned ranges', () => {
  it('overlap what a look at each of them says, in any order and over each other', () => {
    const range = fc.record({ offset: fc.nat(60), length: fc.integer({ min: 1, max: 12 }) });
    fc.assert(
      fc.property(fc.array(range, { maxLength: 8 }), fc.array(range, { maxLength: 12 }), (owned, asked) => {
        const ranges = new OwnedRanges(owned);
        const inOrder = [...asked].sort((a, b) => a.offset - b.offset);
        for (const walk of [ranges, ranges.again()]) {
          for (const { offset, length } of inOrder) {
            const expected = owned.some(
              (other) => other.offset < offset + length && offset < other.offset + other.length,
            );
            expect(walk.overlaps(offset, length)).toBe(expected);
            const inside = new Uint8Array(100);
            for (const part of walk.within(offset, length)) inside.fill(1, part.offset, part.offset + part.length);
            const isOwned = (at: number): boolean =>
              at >= offset &&
              at < offset + length &&
              owned.some((one) => at >= one.offset && at < one.offset + one.length);
            expect(inside).toEqual(Uint8Array.from({ length: 100 }, (_none, at) => (isOwned(at) ? 1 : 0)));
          }
        }
      }),
    );
  });
});
