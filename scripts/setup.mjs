// Does all the set-up that a command needs, and nothing when it is done already:
//   node scripts/setup.mjs --for start|test|bench|check
// Needs nothing but Node itself. `check` needs no system packages and builds nothing.

import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { build, isBuildFresh } from './build.mjs';
import { installNpmPackages, npmPackagesMatch } from './npm-packages.mjs';
import { PACKAGES } from './packages.mjs';
import { secondsSince } from './run-step.mjs';
import { installPackages, missingPackages } from './system-packages.mjs';

const OLDEST_NODE = [20, 19];

async function setUp(purpose) {
  const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
  const say = (line) => console.log(`[setup] ${line}`);
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor < OLDEST_NODE[1]))
    throw new Error(`hv needs Node ${OLDEST_NODE.join('.')} or later; this is ${process.version}.`);

  const step = async (work) => {
    const started = performance.now();
    await work();
    say(`done in ${secondsSince(started)}`);
  };
  const missing = missingPackages(PACKAGES[purpose]);
  if (missing.length > 0) await step(() => installPackages(missing, say));
  if (!npmPackagesMatch(root)) await step(() => installNpmPackages(root, say));
  if (purpose === 'check' || isBuildFresh(root)) return;
  await step(async () => {
    say('Building');
    await build(root);
  });
}

const purpose = parseArgs({ options: { for: { type: 'string' } } }).values.for;
if (purpose === undefined || !Object.hasOwn(PACKAGES, purpose)) {
  console.error(`Usage: node scripts/setup.mjs --for ${Object.keys(PACKAGES).join('|')}`);
  process.exitCode = 2;
} else {
  try {
    await setUp(purpose);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
