// The one gate: build, types, linter and format, import table, lockfile, unit tests.
//   node scripts/check.mjs
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from './build.mjs';
import { checkImports } from './check-imports.mjs';
import { checkLockfile } from './check-lockfile.mjs';
import { runStep, secondsSince } from './run-step.mjs';
import { runTests } from './test.mjs';
import { finish } from './test-report.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');

/** A tool of node_modules, with its output as the complaint when it is not content. */
async function tool(path, args) {
  const { status, output } = await runStep(process.execPath, [join(ROOT, 'node_modules', path), ...args], {
    cwd: ROOT,
  });
  if (status !== 0) throw new Error(output.trimEnd());
}

function none(faults) {
  if (faults.length > 0) throw new Error(faults.join('\n'));
}

const steps = [
  ['build', () => build(ROOT)],
  ['types', () => tool('typescript/bin/tsc', ['-p', 'tsconfig.json'])],
  [
    'lint and format',
    () => tool('@biomejs/biome/bin/biome', ['check', '--error-on-warnings', '--max-diagnostics=200']),
  ],
  ['import table', () => none(checkImports(ROOT))],
  ['lockfile', () => none(checkLockfile(ROOT))],
];

let failedSteps = 0;
for (const [name, run] of steps) {
  const started = performance.now();
  try {
    await run();
    console.log(`ok      ${name} (${secondsSince(started)})`);
  } catch (error) {
    failedSteps++;
    console.log(`FAILED  ${name}\n${error.message}\n`);
  }
}
const sum = await runTests(['unit']);
if (failedSteps > 0) console.log(`FAILED  ${failedSteps} of ${steps.length} steps before the unit tests, see above`);
finish({ ...sum, failed: sum.failed + failedSteps });
