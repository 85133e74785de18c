import { describe, expect, it } from 'vitest';
import { HV_ERROR_CODES } from '../errors/index.ts';
import { exitStatusOf } from './exit-status.ts';

describe('exitStatusOf', () => {
  it('has a status for every code, and none of them says done', () => {
    for (const code of HV_ERROR_CODES) expect([1, 2, 3, 4, 5, 130]).toContain(exitStatusOf(code));
  });

  it.each([
    ['invalid-argument', 2],
    ['ambiguous-name', 2],
    ['not-found', 3],
    ['invalid-state', 4],
    ['in-use', 4],
    ['already-exists', 4],
    ['unsupported', 5],
    ['missing-dependency', 5],
    ['aborted', 130],
    ['corrupt', 1],
    ['no-space', 1],
    ['timeout', 1],
    ['internal', 1],
  ] as const)('tells %s as %d', (code, status) => {
    expect(exitStatusOf(code)).toBe(status);
  });
});
