import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { printableGuestText } from './printable-text.ts';

const hostile = fc.string({
  unit: fc.oneof(
    fc.constantFrom('\u001b', '\u001b[', '\u001b]0;', '\u0007', '\u009b', '\u009d', '\u0090', '\\', '[31m', 'm', ';'),
    fc.constantFrom('\r', '\n', '\t', '\u0000', '\u007f', '\u0085', '\u2028', '\u200b', '\u202e', '\u2066', '\ufeff'),
    fc.constantFrom('\ud800', '\udc00', '\u{e0041}', '\u{1f600}', 'a', 'é', ' ', '漢'),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
  ),
  maxLength: 200,
});

describe('printableGuestText', () => {
  it('never lets a control, a reordering mark or a lone surrogate through, and changes nothing the second time', () => {
    fc.assert(
      fc.property(hostile, fc.integer({ min: 1, max: 100 }), (text, maxLength) => {
        const shown = printableGuestText(text, { maxLength });
        expect(shown).not.toMatch(/[\p{Cc}\p{Cs}\u2028\u2029\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\u061c]/u);
        expect(shown.length).toBeLessThanOrEqual(maxLength);
        expect(printableGuestText(shown, { maxLength })).toBe(shown);
      }),
      { numRuns: 5000 },
    );
  });

  it('keeps ordinary text of every script as it is', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[\p{L}\p{N}][\p{L}\p{N} .,:;_()-]{0,80}[\p{L}\p{N}]$/u), (text) => {
        expect(printableGuestText(text)).toBe(text);
      }),
    );
    expect(printableGuestText('Größe 漢字 👍🏽 ok')).toBe('Größe 漢字 👍🏽 ok');
  });

  it.each([
    ['\u001b[31mred\u001b[0m', 'red'],
    ['\u001b]0;title\u0007after', 'after'],
    ['\u001b]8;;http://x\u001b\\link\u001b]8;;\u001b\\', 'link'],
    ['\u009b1mx', 'x'],
    ['\u001bPq#0\u001b\\x', 'x'],
    ['two\r\nlines\tand a tab', 'two lines and a tab'],
    ['user\u202egnp.exe', 'usergnp.exe'],
    ['  \u0000 ', ''],
    ['\u001b', ''],
  ])('turns %j into %j', (text, shown) => {
    expect(printableGuestText(text)).toBe(shown);
  });

  it('takes time linear in the length', () => {
    const before = performance.now();
    for (const unit of ['\u001b[', '\u001b]', '\u001b ', '\u009b0', '\u001b[0;', 'a\u001b']) {
      printableGuestText(unit.repeat(500_000), { maxLength: 1e6 });
    }
    expect(performance.now() - before).toBeLessThan(5000);
  });
});
