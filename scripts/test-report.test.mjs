import { describe, expect, it } from 'vitest';
import { lockfileFaults } from './check-lockfile.mjs';
import { describeRun, summaryLine, sumUp } from './test-report.mjs';

/** As vitest's reporter hands modules over. */
function module(tests, { errors = [], suites = [] } = {}) {
  return {
    relativeModuleId: 'src/x.test.ts',
    errors: () => errors,
    children: {
      allSuites: () => suites.map(([fullName, message]) => ({ fullName, errors: () => [{ message }] })),
      allTests: () => tests.map(([fullName, state, note]) => ({ fullName, result: () => ({ state, note }) })),
    },
  };
}

describe('the sum of a run', () => {
  it('counts what passed and failed, and names what failed', () => {
    const report = describeRun([module([['a', 'passed'], ['b', 'failed'], ['c', 'passed']])], []); // biome-ignore format: a table
    const sum = sumUp([report, report]);
    expect(sum).toMatchObject({ passed: 4, failed: 2, skipped: 0 });
    expect(sum.lines).toContain('FAILED: src/x.test.ts > b');
    expect(summaryLine(sum)).toBe('4 passed, 2 failed');
  });

  it('accepts a skip with a reason, wherever it is given', () => {
    const sum = sumUp([
      describeRun(
        [
          module([
            ['a', 'skipped', 'no KVM here'],
            ['real QEMU (skipped: not installed) > b', 'skipped'],
          ]),
        ],
        [],
      ),
    ]);
    expect(summaryLine(sum)).toBe('0 passed, 0 failed, 2 skipped');
    expect(sum.lines).toEqual([
      'skipped: src/x.test.ts > a (no KVM here)',
      'skipped: src/x.test.ts > real QEMU (skipped: not installed) > b (not installed)',
    ]);
  });

  it('counts a skip without a reason and a test that never ran as failed', () => {
    const sum = sumUp([describeRun([module([['a', 'skipped'], ['b', 'pending']])], [])]); // biome-ignore format: a table
    expect(sum).toMatchObject({ passed: 0, failed: 2 });
    expect(sum.lines[0]).toContain('gives no reason');
  });

  it('counts what breaks outside of tests as failed', () => {
    const broken = module([], { errors: [{ message: 'no such module\nstack' }], suites: [['hooks', 'beforeAll']] });
    const sum = sumUp([describeRun([broken], [{ message: 'unhandled' }])]);
    expect(sum.failed).toBe(3);
    expect(sum.lines).toEqual([
      'FAILED: outside of any test: unhandled',
      'FAILED: src/x.test.ts: no such module',
      'FAILED: src/x.test.ts > hooks: beforeAll',
    ]);
  });
});

describe('the lockfile', () => {
  it('is refused with an address, without a checksum, or with an optional package left out', () => {
    const whole = { version: '1.0.0', integrity: 'sha512-x' };
    expect(lockfileFaults({ packages: { '': { name: 'hv' }, 'node_modules/a': whole } })).toEqual([]);
    const faults = lockfileFaults({
      packages: {
        '': {},
        'node_modules/a': { ...whole, resolved: 'https://example.invalid/a.tgz' },
        'node_modules/b': { version: '1.0.0' },
        'node_modules/c': { ...whole, optionalDependencies: { a: '1', 'c-darwin': '1' } },
      },
    });
    expect(faults).toHaveLength(3);
    expect(faults.join()).toMatch(/a carries an address.*b has no checksum.*c wants c-darwin/s);
  });
});
