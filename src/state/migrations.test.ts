import { describe, expect, it } from 'vitest';
import { bringUp, type Migrations } from './migrations.ts';

const STEPS: Migrations = {
  1: ({ title, ...rest }) => ({ ...rest, name: title }),
  2: (old) => ({ ...old, colour: 'blue' }),
};

describe('bringUp', () => {
  it('takes every step from the version of the file to the present one', () => {
    const one = { schemaVersion: 1, title: 'a' };
    expect(bringUp(one, 'vm.json', STEPS, 3)).toEqual({ schemaVersion: 3, name: 'a', colour: 'blue' });
    expect(one).toEqual({ schemaVersion: 1, title: 'a' });
  });

  it('leaves a file of the present version as it is', () => {
    const three = { schemaVersion: 3, name: 'a' };
    expect(bringUp(three, 'vm.json', STEPS, 3)).toBe(three);
  });

  it('says that a later hv wrote the file, instead of calling it damaged', () => {
    expect(() => bringUp({ schemaVersion: 4 }, 'vm.json', STEPS, 3)).toThrow(
      expect.objectContaining({ code: 'unsupported', detail: { path: 'vm.json', schemaVersion: 4, supported: 3 } }),
    );
  });

  it.each([null, 7, 'x', [], {}, { schemaVersion: 'one' }, { schemaVersion: 0 }, { schemaVersion: 1.5 }])(
    'leaves %j to the check that follows',
    (value) => {
      expect(bringUp(value, 'vm.json', STEPS, 3)).toBe(value);
    },
  );
});
