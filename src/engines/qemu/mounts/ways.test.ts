import { describe, expect, it } from 'vitest';
import type { MountWay, MountWayFinding } from '../../../disk/index.ts';
import { chooseWay, examineWays } from './ways.ts';

const WAYS: readonly MountWay[] = ['nbd', 'fuse-loop', 'fuse'];
const findings = (...works: readonly MountWay[]): readonly MountWayFinding[] =>
  WAYS.map((way) => ({
    way,
    missing: works.includes(way) ? null : `no ${way} here`,
    fix: works.includes(way) ? null : `get ${way}`,
  }));
const anything = { asked: undefined, needsDevice: false };

describe('the way to show a disk', () => {
  it('is the best that works', () => {
    expect(chooseWay(findings('nbd', 'fuse-loop', 'fuse'), anything)).toBe('nbd');
    expect(chooseWay(findings('fuse-loop', 'fuse'), anything)).toBe('fuse-loop');
    expect(chooseWay(findings('fuse'), anything)).toBe('fuse');
    expect(chooseWay(findings('nbd'), anything)).toBe('nbd');
  });

  it('is the one that is asked for, or none', () => {
    expect(chooseWay(findings('nbd', 'fuse-loop', 'fuse'), { ...anything, asked: 'fuse' })).toBe('fuse');
    expect(() => chooseWay(findings('fuse-loop', 'fuse'), { ...anything, asked: 'nbd' })).toThrowError(
      expect.objectContaining({
        code: 'missing-dependency',
        message: expect.stringContaining('no nbd here'),
        hint: 'get nbd',
      }),
    );
  });

  it('has a device where one is needed', () => {
    expect(chooseWay(findings('nbd', 'fuse-loop', 'fuse'), { asked: undefined, needsDevice: true })).toBe('nbd');
    expect(() => chooseWay(findings('fuse'), { asked: undefined, needsDevice: true })).toThrowError(
      expect.objectContaining({ code: 'missing-dependency', hint: 'get fuse-loop' }),
    );
    expect(() => chooseWay(findings('fuse'), { asked: 'fuse', needsDevice: true })).toThrowError(
      expect.objectContaining({ code: 'unsupported' }),
    );
  });

  it('names what each lacks where none works', () => {
    expect(() => chooseWay(findings(), anything)).toThrowError(
      expect.objectContaining({
        hint: 'get fuse',
        detail: { ways: WAYS.map((way) => ({ way, missing: `no ${way} here` })) },
      }),
    );
  });

  it('is looked for on this host in the same order', async () => {
    const found = await examineWays();
    expect(found.map(({ way }) => way)).toEqual(WAYS);
    for (const { missing, fix } of found) expect(fix === null).toBe(missing === null);
  });
});
