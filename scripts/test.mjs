// Runs the tests and ends with one line: N passed, N failed.
//   node scripts/test.mjs [--unit] [--full]
// Unit tests beside the code, then the suites under test/; --full adds the long ones, --unit stops after the unit tests.
// HV_SKIP_UNIT=1 leaves the unit tests out, for CI, whose check has run them already.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { runStep } from './run-step.mjs';
import { finish, sumUp } from './test-report.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const REPORTER = fileURLToPath(new URL('./test-report.mjs', import.meta.url));
/** Suites start virtual machines: more of them at once only makes each miss its time limits. */
const WORKERS = { unit: Math.min(4, availableParallelism()), suites: 2, full: 2 };

/** Runs one vitest project and gives back its report. */
async function runProject(project) {
  const folder = mkdtempSync(join(tmpdir(), 'hv-report-'));
  const report = join(folder, 'report.json');
  try {
    const vitest = join(ROOT, 'node_modules/vitest/vitest.mjs');
    const args = ['run', '--project', project, `--maxWorkers=${WORKERS[project]}`, '--passWithNoTests'];
    const reporters = ['--reporter=default', `--reporter=${REPORTER}`];
    const { status } = await runStep(process.execPath, [vitest, ...args, ...reporters], {
      cwd: ROOT,
      env: { HV_TEST_REPORT: report },
      show: true,
    });
    const described = readReport(report);
    // A run that ends badly without a failed test is broken all the same.
    const isExplained = described.broken.length > 0 || described.tests.some((test) => test.state === 'failed');
    if (status !== 0 && !isExplained) described.broken.push(`vitest ended with exit code ${status} (${project})`);
    return described;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function readReport(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return { tests: [], broken: ['vitest wrote no report'] };
  }
}

/** @param {readonly ('unit' | 'suites' | 'full')[]} projects */
export async function runTests(projects) {
  const reports = [];
  for (const project of projects) reports.push(await runProject(project));
  const sum = sumUp(reports);
  for (const line of sum.lines) console.log(line);
  return sum;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { unit, full } = parseArgs({ options: { unit: { type: 'boolean' }, full: { type: 'boolean' } } }).values;
  const projects = process.env.HV_SKIP_UNIT === '1' ? [] : ['unit'];
  if (!unit) projects.push('suites');
  if (full) projects.push('full');
  finish(await runTests(projects));
}
