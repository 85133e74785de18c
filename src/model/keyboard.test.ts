import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KEYS, MAX_TYPED_CHARACTERS, parseKeys, typedKeys } from './keyboard.ts';

describe('parseKeys', () => {
  it.each([
    ['ctrl+alt+del', ['ctrl', 'alt', 'delete']],
    ['Ctrl + Alt + F2', ['ctrl', 'alt', 'f2']],
    ['a', ['a']],
    ['win', ['meta']],
    ['shift+/', ['shift', 'slash']],
    ['right-alt+-', ['right-alt', 'minus']],
  ])('reads %j', (text, keys) => {
    expect(parseKeys(text)).toEqual(keys);
  });

  it.each(['', '+', 'ctrl+', 'ctrl++a', 'foo', 'ctrl+ctrl', 'a+b+c+d+e+f+g+h+i', 'constructor', 'ä', 'control+ctrl'])(
    'refuses %j',
    (text) => {
      expect(() => parseKeys(text)).toThrow(expect.objectContaining({ code: 'invalid-argument' }));
    },
  );

  it('takes every key by its own name', () => {
    for (const key of KEYS) expect(parseKeys(key)).toEqual([key]);
  });
});

describe('typedKeys', () => {
  it('has every printable character of ASCII, the line feed and the tab', () => {
    const text = `${String.fromCharCode(...Array.from({ length: 95 }, (_, index) => 32 + index))}\n\t`;
    const presses = typedKeys(text);
    expect(presses).toHaveLength(97);
    // No two characters are typed alike.
    expect(new Set(presses.map(String)).size).toBe(97);
    expect(typedKeys('aA1!~\r\n')).toEqual([
      ['a'],
      ['shift', 'a'],
      ['1'],
      ['shift', '1'],
      ['shift', 'grave'],
      ['enter'],
    ]);
  });

  it('refuses everything else before anything is typed, and says where', () => {
    expect(() => typedKeys('abcä')).toThrow(
      expect.objectContaining({ code: 'invalid-argument', detail: { index: 3, codePoint: 'U+00E4' } }),
    );
    expect(() => typedKeys('x'.repeat(MAX_TYPED_CHARACTERS + 1))).toThrow(
      expect.objectContaining({ code: 'invalid-argument' }),
    );
    const odd = fc
      .string({ unit: 'binary', minLength: 1, maxLength: 3 })
      .filter((text) => !/^[\n\t\r -~]*$/.test(text));
    fc.assert(
      fc.property(odd, (text) => {
        expect(() => typedKeys(text)).toThrow(expect.objectContaining({ code: 'invalid-argument' }));
      }),
    );
  });
});
