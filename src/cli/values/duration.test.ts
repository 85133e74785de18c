import { describe, expect, it } from 'vitest';
import { parseDuration } from './duration.ts';

describe('parseDuration', () => {
  it.each([
    ['30', 30_000],
    ['30s', 30_000],
    ['2m', 120_000],
    ['500ms', 500],
    ['1.5s', 1500],
    ['1h', 3_600_000],
    ['0', 0],
    ['2 M', 120_000],
  ])('reads %j as %d ms', (text, durationMs) => {
    expect(parseDuration(text)).toBe(durationMs);
  });

  it.each(['', '-1', '1d', 's', 'soon', '1e3', '25d', '9999999999', '1,5s', '2m30s'])(
    'refuses %j, showing the accepted form',
    (text) => {
      expect(() => parseDuration(text)).toThrow(
        expect.objectContaining({ code: 'invalid-argument', hint: expect.stringContaining('30s') }),
      );
    },
  );
});
