import { describe, expect, it } from 'vitest';
import { parseMoment } from './moment.ts';

describe('parseMoment', () => {
  it('reads ISO 8601, a day alone too', () => {
    expect(parseMoment('2026-01-31T17:05:00Z').toISOString()).toBe('2026-01-31T17:05:00.000Z');
    expect(parseMoment('2026-01-31').toISOString()).toBe('2026-01-31T00:00:00.000Z');
  });

  it('reads how long ago', () => {
    expect(Math.abs(parseMoment('10m').getTime() - (Date.now() - 600_000))).toBeLessThan(2000);
  });

  it.each(['', 'yesterday', '10', '2026-99-99', '-5m', '1e3s'])('refuses %j', (text) => {
    expect(() => parseMoment(text)).toThrow(expect.objectContaining({ code: 'invalid-argument' }));
  });
});
