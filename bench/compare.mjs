/**
 * Comparing disks against qemu-img compare: the sparse disk of the benchmark of copying as VHDX and as raw file, a dense
 * one, and the hash of the sparse one against sha256sum of the raw file. hv works in this process, its anchors as
 * programs of their own.
 */

import { rmSync } from 'node:fs';
import { makeSources, timed } from './convert.mjs';
import { has, median, run as runProgram } from './measure.mjs';

const TESTS = [
  { name: 'sparse compare vhdx with raw', disk: 'sparse', target: 20 },
  { name: 'dense compare vhdx with raw', disk: 'dense' },
  { name: 'dense hash of a vhdx, against sha256sum of the raw file', disk: 'dense', isHash: true },
];

export async function run(context) {
  const title = 'Comparing disks, against qemu-img compare (seconds)';
  if (!(await has('qemu-img', '--version')))
    return { title, skipped: 'qemu-img is missing (apt-get install qemu-utils)' };
  const { compareVhds, hashVhd } = await import('../dist/disk/index.js');
  const only = process.env.HV_BENCH_ONLY ? new RegExp(process.env.HV_BENCH_ONLY) : /./;
  const rows = [];
  for (const disk of ['sparse', 'dense']) {
    const tests = TESTS.filter((test) => test.disk === disk && only.test(test.name));
    if (tests.length === 0) continue;
    context.say(`making a ${disk} disk`);
    const sources = await makeSources(context.folder, disk, new Set(['vhdx']));
    for (const test of tests) {
      const ours = test.isHash
        ? () => hashVhd(sources.vhdx)
        : async () => {
            const { equal } = await compareVhds(sources.vhdx, sources.raw, { strict: true });
            if (!equal) throw new Error('the disks differ');
          };
      const anchor = test.isHash
        ? () => runProgram('sha256sum', [sources.raw])
        : () => runProgram('qemu-img', ['compare', '-f', 'vhdx', '-F', 'raw', sources.vhdx, sources.raw]);
      rows.push(await measure(context, test, ours, anchor));
    }
    for (const path of Object.values(sources)) rmSync(path, { force: true });
  }
  return { title, rows };
}

async function measure(context, { name, target }, ours, anchor) {
  const pairs = [];
  for (let round = 0; round < context.rounds; round++) {
    const pair = { hv: await timed(ours), anchor: await timed(anchor) };
    pairs.push(pair);
    context.say(`${name}: hv ${pair.hv.seconds.toFixed(2)}, anchor ${pair.anchor.seconds.toFixed(2)}`);
  }
  const ratios = pairs.map((pair) => pair.anchor.seconds / pair.hv.seconds);
  return {
    name,
    ours: median(pairs.map((pair) => pair.hv.seconds)).toFixed(2),
    anchor: median(pairs.map((pair) => pair.anchor.seconds)).toFixed(2),
    ratio: median(ratios),
    ratios,
    ...(target === undefined ? {} : { target }),
    note: `CPU ${median(pairs.map((pair) => pair.hv.cpu / pair.anchor.cpu)).toFixed(2)}`,
  };
}
