import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HvError } from '../../errors/index.ts';
import { addedText } from './added-text.ts';
import { asHvError, showError } from './errors.ts';
import { terminalLine, terminalText } from './terminal-text.ts';
import { showBytes, showSeconds } from './units.ts';

describe('showBytes', () => {
  it.each([
    [0, '0 bytes'],
    [512, '512 bytes'],
    [1024, '1 KiB'],
    [1536, '1.5 KiB'],
    [2 ** 31, '2 GiB'],
    [4_294_967_296 + 2 ** 20, '4 GiB'],
    [100 * 2 ** 20 + 2 ** 19, '100.5 MiB'],
    [64 * 2 ** 40, '64 TiB'],
  ])('shows %d as %s', (bytes, shown) => {
    expect(showBytes(bytes)).toBe(shown);
  });
});

describe('showSeconds', () => {
  it.each([
    [0, '0s'],
    [59.9, '59s'],
    [60, '1m 0s'],
    [3661, '1h 1m'],
    [100_000, '1d 3h'],
  ])('shows %d as %s', (seconds, shown) => {
    expect(showSeconds(seconds)).toBe(shown);
  });
});

describe('terminalText', () => {
  it.each([
    ['colours', '\u001b[1;31mred\u001b[0m', 'red'],
    ['titles', '\u001b]0;title\u0007text', 'text'],
    ['clipboard writes', '\u001b]52;c;ZXZpbA==\u001b\\text', 'text'],
    ['device control strings', '\u001bPq#0\u001b\\text', 'text'],
    ['8-bit forms', '\u009b31mred\u009d0;t\u009ctext', 'redtext'],
    ['a sequence that was cut off', 'text\u001b[', 'text'],
    ['full resets', '\u001bctext', 'text'],
    ['bells and backspaces', 'te\u0007\u0008xt', 'text'],
    ['reordering marks', 'a\u202eb\u2066c', 'abc'],
    ['carriage returns', 'a\r\nb\rc', 'a\nb\nc'],
  ])('leaves out %s', (_what, text, shown) => {
    expect(terminalText(text)).toBe(shown);
  });

  it('leaves every script as it is', () => {
    const text = 'サーバー\t服务器\nсервер خادم שרת 👩‍💻 Café';
    expect(terminalText(text)).toBe(text);
  });

  it('lets no control character through, whatever comes, and changes nothing the second time', () => {
    const unit = fc.oneof(
      fc.constantFrom('\u001b', '[', ']', ';', '0', 'm', '\u0007', '\\', '\u009b', '\u009c', 'P', '\r', '\n'),
      fc.string({ minLength: 1, maxLength: 1 }),
    );
    fc.assert(
      fc.property(fc.array(unit, { maxLength: 60 }), (units) => {
        const shown = terminalText(units.join(''));
        expect(shown).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e]/);
        expect(terminalText(shown)).toBe(shown);
        expect(terminalLine(units.join(''))).not.toMatch(/[\n\t]/);
      }),
    );
  });

  it('takes time in proportion to hostile text', () => {
    const startedAt = performance.now();
    for (const hostile of ['\u001b[', '\u001b]', '\u001b[0', '\u001bP\u001b']) terminalText(hostile.repeat(200_000));
    expect(performance.now() - startedAt).toBeLessThan(5000);
  });
});

describe('addedText', () => {
  it.each([
    ['', 'abc', 'abc'],
    ['abc', 'abc', ''],
    ['abc', 'abcdef', 'def'],
    ['abcdef', 'defghi', 'ghi'],
    ['aaa', 'aaaa', 'a'],
    ['abc', 'xyz', 'xyz'],
    ['abc', '', ''],
    ['\n\n\nx', 'x\n\n', '\n\n'],
  ])('from %j to %j is %j', (before, now, added) => {
    expect(addedText(before, now)).toBe(added);
  });

  it('follows a growing text of which only the last part is seen', () => {
    const chunks = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', '\n'), minLength: 0, maxLength: 12 }), {
      maxLength: 20,
    });
    fc.assert(
      fc.property(chunks, (parts) => {
        const window = 64;
        let whole = '';
        let shown = '';
        let before = '';
        for (const part of parts) {
          whole += part;
          const now = whole.slice(-window);
          const added = addedText(before, now);
          // What repeats can be taken for what was there: never more than came, and always the end of it.
          expect(part.endsWith(added)).toBe(true);
          if (whole.length <= window) expect(added).toBe(part);
          shown += added;
          before = now;
        }
        expect(whole.endsWith(shown.slice(-1))).toBe(true);
      }),
    );
  });
});

describe('showError', () => {
  const error = new HvError('not-found', 'there is no machine "web1"', {
    detail: { name: 'web1' },
    hint: 'See: hv vm list',
  });

  it('is one JSON object with --json', () => {
    const { error: shown } = JSON.parse(showError(error, { json: true, debug: false }));
    expect(shown).toEqual({
      code: 'not-found',
      message: 'there is no machine "web1"',
      detail: { name: 'web1' },
      hint: 'See: hv vm list',
    });
  });

  it('is a line and a hint otherwise, without what a terminal would obey', () => {
    expect(showError(error, { json: false, debug: false })).toBe(
      'hv: there is no machine "web1"\n    See: hv vm list\n',
    );
    expect(showError(new HvError('io', 'a\u001b[2J\nb'), { json: false, debug: false })).toBe('hv: a b\n');
  });

  it('takes what nobody wrapped for a defect of hv', () => {
    expect(asHvError(new TypeError('x is undefined'))).toMatchObject({ code: 'internal', message: 'x is undefined' });
    expect(asHvError('text')).toMatchObject({ code: 'internal', message: 'text' });
    expect(asHvError(error)).toBe(error);
  });
});
