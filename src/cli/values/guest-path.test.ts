import fc from 'fast-check';
import { expect, it } from 'vitest';
import { parseCopyEnd } from './guest-path.ts';

it.each([
  ['web1:/etc/hosts', { kind: 'guest', vm: 'web1', path: '/etc/hosts' }],
  ['a:b: c:/x:/y', { kind: 'guest', vm: 'a:b: c', path: '/x:/y' }],
  ['web1:C:\\temp\\a.txt', { kind: 'guest', vm: 'web1', path: 'C:\\temp\\a.txt' }],
  ['a:b:C:\\x', { kind: 'guest', vm: 'a:b', path: 'C:\\x' }],
  ['web1:relative', { kind: 'local', path: 'web1:relative' }],
  ['./web1:/etc/hosts', { kind: 'local', path: './web1:/etc/hosts' }],
  ['/tmp/web1:/x', { kind: 'local', path: '/tmp/web1:/x' }],
  ['plain', { kind: 'local', path: 'plain' }],
])('reads %j', (text, end) => {
  expect(parseCopyEnd(text)).toEqual(end);
});

it('refuses an empty path', () => {
  expect(() => parseCopyEnd('')).toThrow(expect.objectContaining({ code: 'invalid-argument' }));
});

it('finds every name that a machine may have, and every absolute path', () => {
  const name = fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => !/[/\\\0\n]/.test(text));
  fc.assert(
    fc.property(name, fc.string(), (vm, rest) => {
      expect(parseCopyEnd(`${vm}:/${rest}`)).toEqual({ kind: 'guest', vm, path: `/${rest}` });
    }),
  );
});
