import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HvError } from '../../errors/index.ts';
import { parseSize } from './size.ts';

const FACTOR = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 } as const;

describe('parseSize', () => {
  it.each([
    ['1', 1],
    ['4096', 4096],
    ['1K', 2 ** 10],
    ['2m', 2 ** 21],
    ['64G', 64 * 2 ** 30],
    ['64GB', 64 * 2 ** 30],
    ['64GiB', 64 * 2 ** 30],
    ['64 GiB', 64 * 2 ** 30],
    ['1.5G', 1.5 * 2 ** 30],
    ['0.5K', 512],
    ['0.001T', undefined],
    ['1.50000000000000000000G', 1.5 * 2 ** 30],
    ['64T', 64 * 2 ** 40],
    ['007G', 7 * 2 ** 30],
    ['512B', 512],
    [' 2G ', 2 ** 31],
    ['9007199254740991', Number.MAX_SAFE_INTEGER],
  ])('reads %j', (text, bytes) => {
    if (bytes === undefined) expect(() => parseSize(text)).toThrow(/whole number of bytes/);
    else expect(parseSize(text)).toBe(bytes);
  });

  it.each([
    '',
    ' ',
    '0',
    '0G',
    '0.0',
    '-1',
    '-2G',
    '1.5',
    '1.3K',
    '1,5G',
    '1e9',
    '0x10',
    'G',
    '2GG',
    '2P',
    '2 G B',
    '１G',
    '9007199254740992',
    '8192P',
    '9999999T',
    '1'.repeat(100),
    'NaN',
    'Infinity',
    '2G\n2G',
  ])('refuses %j, showing the accepted form', (text) => {
    try {
      parseSize(text);
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(HvError);
      expect(error).toMatchObject({ code: 'invalid-argument', hint: expect.stringContaining('2G') });
    }
  });

  it('agrees with the number for every whole count of every unit', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4096 }),
        fc.constantFrom('', 'K', 'M', 'G', 'T'),
        fc.constantFrom('', 'B', 'iB'),
        (count, unit, ending) => {
          const spelt = unit === '' && ending === 'iB' ? `${count}` : `${count}${unit}${ending}`;
          expect(parseSize(spelt)).toBe(count * FACTOR[unit]);
        },
      ),
    );
  });

  it('gives a positive whole number or an HvError for every text', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[-+]?[0-9.]{1,24}[kKmMgGtT]?i?[bB]?$/)), (text) => {
        try {
          const bytes = parseSize(text);
          expect(Number.isSafeInteger(bytes) && bytes > 0).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(HvError);
        }
      }),
    );
  });
});
