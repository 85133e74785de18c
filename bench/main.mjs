/**
 * Runs the benchmarks named as arguments, or all: `npm run bench`, `npm run bench -- nbd`.
 * Each compares with an anchor, interleaved, and answers the median of the ratios. HV_BENCH_SECONDS sets how long one
 * measurement of throughput takes, HV_BENCH_ROUNDS how many pairs there are, HV_BENCH_DIR where the files lie.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const BENCHMARKS = ['rct', 'nbd', 'vhd', 'convert', 'compare', 'vm-start', 'cli-start'];

const asked = process.argv.slice(2).filter((argument) => !argument.startsWith('-'));
const unknown = asked.filter((name) => !BENCHMARKS.includes(name));
if (unknown.length > 0) {
  console.error(`No benchmark is called ${unknown.join(', ')}; there are: ${BENCHMARKS.join(', ')}`);
  process.exit(2);
}

const context = {
  seconds: Number(process.env.HV_BENCH_SECONDS ?? 2),
  rounds: Number(process.env.HV_BENCH_ROUNDS ?? 5),
  folder: mkdtempSync(join(process.env.HV_BENCH_DIR ?? tmpdir(), 'hv-bench-')),
  say: (text) => console.error(text),
};
process.on('exit', () => rmSync(context.folder, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));

let missed = 0;
for (const name of asked.length > 0 ? asked : BENCHMARKS) {
  const { run } = await import(`./${name}.mjs`);
  const { title, rows, skipped } = await run(context);
  console.log(`\n${title}`);
  if (skipped) {
    console.log(`  skipped: ${skipped}`);
    continue;
  }
  const table = [
    ['', 'hv', 'anchor', 'ratio', 'spread', 'target', ''],
    ...rows.map((row) => {
      const hasTarget = row.target !== undefined;
      const isReached = !hasTarget || (row.isLowerBetter ? row.ratio <= row.target : row.ratio >= row.target);
      if (!isReached) missed++;
      return [
        row.name,
        row.ours,
        row.anchor,
        row.ratio.toFixed(2),
        `${Math.min(...row.ratios).toFixed(2)}-${Math.max(...row.ratios).toFixed(2)}`,
        hasTarget ? `${row.isLowerBetter ? '<=' : '>='} ${row.target}` : '-',
        [hasTarget ? (isReached ? 'reached' : 'MISSED') : '', row.note ?? ''].filter((text) => text !== '').join('; '),
      ];
    }),
  ];
  const widths = table[0].map((_, column) => Math.max(...table.map((line) => line[column].length)));
  for (const line of table)
    console.log(`  ${line.map((cell, column) => cell.padEnd(widths[column])).join('  ')}`.trimEnd());
}
console.log(missed === 0 ? '\nEvery target was reached.' : `\n${missed} targets were missed.`);
