import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HvError } from '../errors/index.ts';
import { MAX_NAME_LENGTH, nameKey, validName } from './names.ts';

function codeOf(name: string): string {
  try {
    validName(name);
    return 'accepted';
  } catch (error) {
    return error instanceof HvError ? error.code : 'another error';
  }
}

describe('validName', () => {
  it.each([
    'web1',
    'Web Server 01',
    "O'Brien's",
    'say "hi"',
    'a,b=c;d&e|f$g`h%i*j?k<l>m!n#o~p',
    '-rf',
    '--json',
    '...',
    'a.b',
    'Grüße',
    'サーバー',
    '服务器',
    'сервер',
    'خادم',
    'שרת',
    'सर्वर',
    'เซิร์ฟเวอร์',
    '👩‍💻 dev',
    'x'.repeat(MAX_NAME_LENGTH),
    '👍'.repeat(MAX_NAME_LENGTH),
  ])('accepts %j', (name) => {
    expect(validName(name)).toBe(name.normalize('NFC'));
  });

  it.each([
    ['empty', ''],
    ['only spaces', '   '],
    ['too long', 'x'.repeat(MAX_NAME_LENGTH + 1)],
    ['a dot', '.'],
    ['two dots', '..'],
    ['a slash', 'a/b'],
    ['a backslash', 'a\\b'],
    ['a line feed', 'a\nb'],
    ['a tab', 'a\tb'],
    ['a NUL', 'a\0b'],
    ['an escape', 'a\u001b[31mb'],
    ['DEL', 'a\u007fb'],
    ['a C1 control', 'a\u009bb'],
    ['a bidirectional override', 'a\u202eb'],
    ['a bidirectional isolate', 'a\u2066b'],
    ['a line separator', 'a\u2028b'],
    ['half a character', 'a\ud800b'],
    ['the other half', 'a\udc00b'],
  ])('refuses a name with %s', (_what, name) => {
    expect(codeOf(name)).toBe('invalid-argument');
  });

  it('composes what can be composed', () => {
    expect(validName('Cafe\u0301')).toBe('Caf\u00e9');
  });

  it('says what was wrong without passing on what could disturb a terminal', () => {
    expect(() => validName('a\u001b[2Jb')).toThrow(/control characters/);
    try {
      validName('a\u001b[2Jb');
    } catch (error) {
      expect((error as Error).message).not.toContain('\u001b');
    }
  });

  it('accepts or refuses every string, and accepts again what it returned', () => {
    const anyString = fc.string({
      unit: fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)),
      maxLength: 120,
    });
    fc.assert(
      fc.property(fc.oneof(anyString, fc.string({ unit: 'grapheme' })), (name) => {
        const verdict = codeOf(name);
        expect(['accepted', 'invalid-argument']).toContain(verdict);
        if (verdict !== 'accepted') return;
        const normal = validName(name);
        expect(validName(normal)).toBe(normal);
        expect(normal).not.toMatch(/[\u0000-\u001f\u007f-\u009f/\\\u202a-\u202e\u2066-\u2069]/);
      }),
    );
  });
});

describe('nameKey', () => {
  it('does not tell case or composition apart', () => {
    expect(nameKey('WEB1')).toBe(nameKey('web1'));
    expect(nameKey('CAFE\u0301')).toBe(nameKey('caf\u00e9'));
    expect(nameKey('СЕРВЕР')).toBe(nameKey('сервер'));
  });

  it('tells different names apart', () => {
    expect(nameKey('web1')).not.toBe(nameKey('web2'));
  });

  it('is its own key', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (name) => {
        expect(nameKey(nameKey(name))).toBe(nameKey(name));
      }),
    );
  });
});
