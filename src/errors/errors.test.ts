import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  assertNever,
  fromSystemError,
  HV_ERROR_CODES,
  HvError,
  type HvErrorJson,
  invariant,
  isHvError,
  isSystemError,
} from './index.ts';

function caught(work: () => void): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

/** As node:fs throws it. */
function systemError(code: string, errno = -5): Error {
  return Object.assign(new Error(`${code}: text, open '/x'`), { code, errno, syscall: 'open', path: '/x' });
}

describe('HvError', () => {
  it('keeps code, detail, hint and cause', () => {
    const cause = new Error('inner');
    const error = new HvError('in-use', 'a.vhdx is in use', { detail: { path: 'a.vhdx' }, hint: 'Close it.', cause });
    expect(error).toMatchObject({ name: 'HvError', code: 'in-use', detail: { path: 'a.vhdx' }, hint: 'Close it.' });
    expect(error.cause).toBe(cause);
    expect('cause' in new HvError('io', 'x')).toBe(false);
  });

  it('comes through JSON unchanged, without its cause', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...HV_ERROR_CODES),
        fc.string(),
        fc.option(fc.string(), { nil: undefined }),
        fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null))),
        (code, message, hint, detail) => {
          const error = new HvError(code, message, {
            detail,
            cause: 'secret',
            ...(hint === undefined ? {} : { hint }),
          });
          const text = JSON.stringify(error);
          expect(text).not.toContain('"cause"');
          const copy = HvError.fromJSON(JSON.parse(text) as HvErrorJson);
          expect(copy.toJSON()).toEqual(JSON.parse(text));
          expect(copy.code).toBe(code);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('takes a code that it does not know for internal', () => {
    expect(HvError.fromJSON({ code: 'made-up' as 'io', message: 'x' })).toMatchObject({ code: 'internal', detail: {} });
  });

  it('has codes that are all different and spelled alike', () => {
    expect(new Set(HV_ERROR_CODES).size).toBe(HV_ERROR_CODES.length);
    for (const code of HV_ERROR_CODES) expect(code).toMatch(/^[a-z]+(-[a-z]+)*$/);
  });
});

describe('isHvError', () => {
  it('tells hv errors from others, and by code', () => {
    expect(isHvError(new HvError('io', 'x'))).toBe(true);
    expect(isHvError(new HvError('io', 'x'), 'io')).toBe(true);
    expect(isHvError(new HvError('io', 'x'), 'timeout')).toBe(false);
    for (const other of [new Error('x'), { code: 'io' }, undefined, null, 'io']) expect(isHvError(other)).toBe(false);
  });
});

describe('fromSystemError', () => {
  it.each([
    ['ENOENT', 'not-found'],
    ['EEXIST', 'already-exists'],
    ['EACCES', 'permission-denied'],
    ['EROFS', 'permission-denied'],
    ['ENOSPC', 'no-space'],
    ['EDQUOT', 'no-space'],
    ['ETXTBSY', 'in-use'],
    ['ELOOP', 'invalid-argument'],
    ['EIO', 'io'],
    ['EBADF', 'io'],
  ] as const)('makes %s the code %s', (symbol, code) => {
    expect(fromSystemError(systemError(symbol), 'could not open /x')).toMatchObject({ code });
  });

  it('keeps number, symbol, function and the caller’s facts', () => {
    const error = fromSystemError(systemError('ENOSPC', -28), 'could not write a.vhdx', { path: 'a.vhdx' });
    expect(error.message).toBe('could not write a.vhdx: no space left (ENOSPC)');
    expect(error.detail).toEqual({ path: 'a.vhdx', errno: 'ENOSPC', errnoNumber: 28, function: 'open' });
  });

  it('understands what Node itself throws', () => {
    const error = fromSystemError(
      caught(() => readFileSync('/nonexistent/file')),
      'could not read it',
    );
    expect(error).toMatchObject({ code: 'not-found', detail: { errno: 'ENOENT', errnoNumber: 2, function: 'open' } });
  });

  it('wraps once: an HvError passes through, a bug becomes internal with its cause', () => {
    const inner = new HvError('corrupt', 'x');
    expect(fromSystemError(inner, 'outer')).toBe(inner);
    const bug = new TypeError('undefined is not a function');
    expect(fromSystemError(bug, 'reading')).toMatchObject({ code: 'internal', cause: bug });
    expect(fromSystemError('text', 'reading').code).toBe('internal');
  });
});

describe('isSystemError', () => {
  it('looks at the symbol, and not at errors that merely have a code', () => {
    expect(isSystemError(systemError('ENOENT'))).toBe(true);
    expect(isSystemError(systemError('ENOENT'), 'EEXIST', 'ENOENT')).toBe(true);
    expect(isSystemError(systemError('ENOENT'), 'EEXIST')).toBe(false);
    expect(isSystemError(Object.assign(new Error(), { code: 'ERR_INVALID_ARG_TYPE' }))).toBe(false);
    expect(isSystemError({ code: 'ENOENT' })).toBe(false);
  });
});

describe('bugs', () => {
  it('are internal errors that say so', () => {
    invariant(1, 'truth');
    expect(caught(() => invariant(0, 'the log is empty'))).toMatchObject({
      code: 'internal',
      message: 'invariant broken: the log is empty',
      hint: expect.stringContaining('report'),
    });
    expect(caught(() => assertNever('x' as never, 'state'))).toMatchObject({
      code: 'internal',
      message: 'unexpected state: "x"',
    });
  });
});
