/** `hv --version` against an empty Node program: what every command costs before it does anything. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { median } from './measure.mjs';

const ROUNDS = 15;
const MAIN = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));

export async function run() {
  const title = 'Start of the command line, against `node -e 0` (milliseconds)';
  if (!existsSync(MAIN)) return { title, skipped: `${MAIN} has not been built` };
  const pairs = [];
  for (let round = 0; round < ROUNDS; round++) {
    pairs.push({ hv: timed([MAIN, '--version']), node: timed(['-e', '0']) });
  }
  const ratios = pairs.map((pair) => pair.hv / pair.node);
  return {
    title,
    rows: [
      {
        name: 'hv --version',
        ours: median(pairs.map((pair) => pair.hv)).toFixed(0),
        anchor: median(pairs.map((pair) => pair.node)).toFixed(0),
        ratio: median(ratios),
        ratios,
        target: 1.6,
        isLowerBetter: true,
      },
    ],
  };
}

function timed(args) {
  const startedAt = performance.now();
  execFileSync(process.execPath, args, { stdio: 'ignore' });
  return performance.now() - startedAt;
}
