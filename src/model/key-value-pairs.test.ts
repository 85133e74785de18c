import { expect, it } from 'vitest';
import { MAX_VALUE_BYTES, validPair } from './key-value-pairs.ts';

it.each([
  ['role', 'web server'],
  ['a.b-c_D9', ''],
  ['x'.repeat(255), 'ä'.repeat(MAX_VALUE_BYTES / 2)],
  ['key', 'a=b "c" $(d)'],
])('takes %j', (key, value) => {
  expect(validPair(key, value)).toEqual({ key, value });
});

it.each([
  ['', 'x'],
  ['a b', 'x'],
  ['a=b', 'x'],
  ['../x', 'x'],
  ['.hidden', 'x'],
  ['x'.repeat(256), 'x'],
  ['key', 'two\nlines'],
  ['key', 'nul\0'],
  ['key', 'esc\u001b[m'],
  ['key', 'line\u2028separator'],
  ['key', '\ud800'],
  ['key', 'x'.repeat(MAX_VALUE_BYTES + 1)],
])('refuses %j with %j', (key, value) => {
  expect(() => validPair(key, value)).toThrow(expect.objectContaining({ code: 'invalid-argument' }));
});
