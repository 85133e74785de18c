// What a test run comes to: a vitest reporter that writes it down, and the sum of several runs for people and CI.
import { appendFileSync, writeFileSync } from 'node:fs';

/** vitest loads a reporter by its default export. Writes to the file that HV_TEST_REPORT names. */
// biome-ignore lint/style/noDefaultExport: vitest looks for it
export default class ReportWriter {
  onTestRunEnd(modules, unhandledErrors) {
    const { HV_TEST_REPORT: path } = process.env;
    if (path !== undefined) writeFileSync(path, JSON.stringify(describeRun(modules, unhandledErrors)));
  }
}

export function describeRun(modules, unhandledErrors) {
  const tests = [];
  const broken = unhandledErrors.map((error) => `outside of any test: ${firstLine(error)}`);
  for (const module of modules) {
    const file = module.relativeModuleId;
    for (const error of module.errors()) broken.push(`${file}: ${firstLine(error)}`);
    for (const suite of module.children.allSuites())
      for (const error of suite.errors()) broken.push(`${file} > ${suite.fullName}: ${firstLine(error)}`);
    for (const test of module.children.allTests()) {
      const { state, note } = test.result();
      tests.push({ name: `${file} > ${test.fullName}`, state, ...(note ? { note } : {}) });
    }
  }
  return { tests, broken };
}

function firstLine(error) {
  return String(error?.message ?? error).split('\n')[0];
}

/**
 * Why a test did not run: ctx.skip('reason'), or "(skipped: reason)" or "(skipped where ...)" in its title or that of a
 * suite around it.
 * Undefined: it says nothing, or it never came to its turn.
 */
export function skipReason({ name, note }) {
  return note ?? /\(skipped:? ([^)]+)\)/.exec(name)?.[1];
}

/**
 * @param {readonly { tests: readonly object[], broken: readonly string[] }[]} reports
 * @returns {{ passed: number, failed: number, skipped: number, lines: string[] }} lines: what a person must know
 */
export function sumUp(reports) {
  const tests = reports.flatMap((report) => report.tests);
  const broken = reports.flatMap((report) => report.broken);
  const skipped = tests.filter((test) => test.state === 'skipped' && skipReason(test) !== undefined);
  const unexplained = tests.filter(
    (test) => test.state !== 'passed' && test.state !== 'failed' && !skipped.includes(test),
  );
  const failed = tests.filter((test) => test.state === 'failed');
  return {
    passed: tests.filter((test) => test.state === 'passed').length,
    failed: failed.length + unexplained.length + broken.length,
    skipped: skipped.length,
    lines: [
      ...skipped.map((test) => `skipped: ${test.name} (${skipReason(test)})`),
      ...unexplained.map((test) => `FAILED: ${test.name} did not run and gives no reason`),
      ...failed.map((test) => `FAILED: ${test.name}`),
      ...broken.map((what) => `FAILED: ${what}`),
    ],
  };
}

/** Ends a command: its last line, its exit status, and a line in the file HV_SUMMARY for whoever adds runs up. */
export function finish(sum) {
  if (process.env.HV_SUMMARY) appendFileSync(process.env.HV_SUMMARY, `${sum.passed} ${sum.failed} ${sum.skipped}\n`);
  console.log(summaryLine(sum));
  if (sum.failed > 0) process.exitCode = 1;
}

/** `12 passed, 0 failed`, with `, 3 skipped` where there are any. */
export function summaryLine({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}
