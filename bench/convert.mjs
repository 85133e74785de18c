/**
 * Copying whole disks against qemu-img, and against cp where there is such a thing. Sparse: 64 GiB of disk with 1 GiB of
 * data in 256 pieces; dense: random bytes. hv works in this process, its anchors as programs of their own; both are
 * measured by the clock, and by the processor time that they took. What hv writes is on storage when it says so;
 * qemu-img and cp leave that to the kernel. The files are in memory before each measurement.
 */

import { randomFillSync } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { has, median, run as runProgram } from './measure.mjs';

const MIB = 1024 * 1024;
const PIECES = 256;

const DISKS = {
  sparse: { sizeMib: 65_536, dataMib: 1024 },
  dense: { sizeMib: Number(process.env.HV_BENCH_DENSE_MIB ?? 1024), dataMib: undefined },
};

/** What is copied into what. Targets of the ratio qemu-img / hv, and of hv / cp; synced: also against qemu-img and a sync of its file. */
const TESTS = [
  { disk: 'sparse', from: 'vhdx', to: 'vhdx', target: 3 },
  { disk: 'sparse', from: 'vhdx', to: 'raw', target: 3, cpTarget: 1.5 },
  { disk: 'sparse', from: 'raw', to: 'vhdx' },
  { disk: 'sparse', from: 'vhd', to: 'vhdx' },
  { disk: 'dense', from: 'raw', to: 'vhdx', target: 1.0, cpuTarget: 0.8 },
  { disk: 'dense', from: 'vhdx', to: 'raw', target: 1.0, cpuTarget: 0.8 },
  { disk: 'dense', from: 'vhdx', to: 'vhdx', target: 1.0, cpuTarget: 0.8 },
  { disk: 'dense', from: 'raw', to: 'vhd', target: 1.0, cpuTarget: 0.8 },
  { disk: 'dense', from: 'vhd', to: 'raw', target: 1.0, cpuTarget: 0.8 },
  { disk: 'dense', from: 'qcow2', to: 'vhdx', target: 1.0, cpuTarget: 0.8, isSynced: true },
  { disk: 'dense', from: 'vhdx', to: 'qcow2', target: 1.0, cpuTarget: 0.8, isSynced: true },
  { disk: 'dense', from: 'raw', to: 'qcow2', target: 1.0, cpuTarget: 0.8, isSynced: true },
  { disk: 'dense', from: 'vhdx', to: 'vmdk', target: 1.0, cpuTarget: 0.8, isSynced: true },
  { disk: 'dense', from: 'vhdx', to: 'vdi', target: 1.0, cpuTarget: 0.8, isSynced: true },
  { disk: 'sparse', from: 'vhdx', to: 'qcow2' },
];

const QEMU_FORMAT = { vhd: 'vpc' };

export async function run(context) {
  const title = 'Copying a disk, against qemu-img convert (seconds)';
  if (!(await has('qemu-img', '--version')))
    return { title, skipped: 'qemu-img is missing (apt-get install qemu-utils)' };
  const { convertVhd } = await import('../dist/disk/index.js');
  const only = process.env.HV_BENCH_ONLY ? new RegExp(process.env.HV_BENCH_ONLY) : /./;
  const rows = [];
  for (const disk of Object.keys(DISKS)) {
    const tests = TESTS.filter((test) => test.disk === disk && only.test(nameOf(test)));
    if (tests.length === 0) continue;
    context.say(`making a ${disk} disk`);
    const sources = await makeSources(context.folder, disk, new Set(tests.map(({ from }) => from)));
    for (const test of tests) rows.push(...(await measure(context, test, sources, convertVhd)));
    for (const path of Object.values(sources)) rmSync(path, { force: true });
  }
  return { title, rows };
}

function nameOf({ disk, from, to }) {
  return `${disk} ${from} to ${to}`;
}

async function measure(context, test, sources, convertVhd) {
  const source = sources[test.from];
  const raw = sources.raw;
  const target = join(context.folder, `copy.${test.to}`);
  const contestants = {
    hv: () => convertVhd(source, target),
    'qemu-img': () => qemuConvert(test.from, source, test.to, target),
    ...(test.isSynced ? { synced: () => qemuConvertSynced(test.from, source, test.to, target) } : {}),
    ...(test.cpTarget === undefined ? {} : { cp: () => runProgram('cp', ['--sparse=always', raw, target]) }),
  };
  const figures = Object.fromEntries(Object.keys(contestants).map((name) => [name, []]));
  for (let round = 0; round < context.rounds; round++) {
    for (const [name, work] of Object.entries(contestants)) {
      rmSync(target, { force: true });
      figures[name].push(await timed(work));
      rmSync(target, { force: true });
    }
    const last = Object.entries(figures).map(([name, list]) => `${name} ${list.at(-1).seconds.toFixed(2)}`);
    context.say(`${nameOf(test)}: ${last.join(', ')}`);
  }
  const rows = [rowOf(nameOf(test), figures.hv, figures['qemu-img'], { target: test.target })];
  if (test.cpuTarget !== undefined) rows.push(cpuRowOf(nameOf(test), figures, test.cpuTarget));
  if (test.isSynced) rows.push(rowOf(`${nameOf(test)}, against qemu-img and sync`, figures.hv, figures.synced, {}));
  if (test.cpTarget !== undefined) {
    rows.push(
      rowOf(`${nameOf(test)}, against cp`, figures.hv, figures.cp, { target: test.cpTarget, isLowerBetter: true }),
    );
  }
  return rows;
}

function rowOf(name, ours, anchor, { target, isLowerBetter = false }) {
  const ratios = ours.map(({ seconds }, index) => {
    const other = anchor[index].seconds;
    return isLowerBetter ? seconds / other : other / seconds;
  });
  return {
    name,
    ours: median(ours.map(({ seconds }) => seconds)).toFixed(2),
    anchor: median(anchor.map(({ seconds }) => seconds)).toFixed(2),
    ratio: median(ratios),
    ratios,
    ...(target === undefined ? {} : { target }),
    isLowerBetter,
    note: `CPU ${(median(ours.map(({ cpu }) => cpu)) / median(anchor.map(({ cpu }) => cpu))).toFixed(2)}`,
  };
}

function cpuRowOf(name, figures, target) {
  const ratios = figures.hv.map(({ cpu }, index) => cpu / figures['qemu-img'][index].cpu);
  return {
    name: `${name}, processor time`,
    ours: median(figures.hv.map(({ cpu }) => cpu)).toFixed(2),
    anchor: median(figures['qemu-img'].map(({ cpu }) => cpu)).toFixed(2),
    ratio: median(ratios),
    ratios,
    target,
    isLowerBetter: true,
  };
}

/** Seconds by the clock, and of processor time: this process's and its children's. */
export async function timed(work) {
  const cpuBefore = cpuSeconds();
  const start = performance.now();
  await work();
  return { seconds: (performance.now() - start) / 1000, cpu: cpuSeconds() - cpuBefore };
}

function cpuSeconds() {
  const { user, system } = process.cpuUsage();
  const stat = readFileSync('/proc/self/stat', 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  // Fields 16 and 17: what children took that have ended, in hundredths of a second.
  return (user + system) / 1e6 + (Number(fields[13]) + Number(fields[14])) / 100;
}

function qemuConvert(from, source, to, target) {
  const format = (name) => QEMU_FORMAT[name] ?? name;
  return runProgram('qemu-img', ['convert', '-f', format(from), '-O', format(to), source, target]);
}

async function qemuConvertSynced(from, source, to, target) {
  await qemuConvert(from, source, to, target);
  await runProgram('sync', ['--data', target]);
}

/** A raw file, and copies of it in other formats, made by qemu-img where it can so that both read what a third wrote. */
export async function makeSources(folder, disk, formats) {
  const { sizeMib, dataMib } = DISKS[disk];
  const raw = join(folder, `${disk}.raw`);
  writeData(raw, sizeMib, dataMib);
  const sources = { raw };
  for (const format of formats) {
    if (format === 'raw') continue;
    sources[format] = join(folder, `${disk}.${format}`);
    await qemuConvert('raw', raw, format, sources[format]);
  }
  await runProgram('sync', [folder]);
  return sources;
}

function writeData(path, sizeMib, dataMib) {
  const fd = openSync(path, 'w');
  const pieces = dataMib === undefined ? sizeMib / 4 : PIECES;
  const bytes = Buffer.alloc(((dataMib ?? sizeMib) * MIB) / pieces);
  for (let piece = 0; piece < pieces; piece++) {
    writeSync(fd, randomFillSync(bytes), 0, bytes.length, (piece * sizeMib * MIB) / pieces);
  }
  ftruncateSync(fd, sizeMib * MIB);
  closeSync(fd);
}
