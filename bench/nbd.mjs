/**
 * hv's NBD server against qemu-nbd: identical copies of one dynamic VHDX, filled with random data, one client for
 * both (fio's nbd engine, which is libnbd). qemu-nbd gets --cache=writeback, so that neither server waits for storage
 * on a write, and --aio=threads, its default. Warm: the file is in memory. Cold: it is thrown out of memory before
 * every measurement; the table of the disk's blocks has to be read again only by who does not keep it.
 */

import { randomFillSync } from 'node:crypto';
import { closeSync, copyFileSync, existsSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Child, has, median, run as runProgram, until } from './measure.mjs';

export const DISK_MIB = 1024;
const MIB = 1024 * 1024;

const TESTS = [
  { name: 'random read 4 KiB, depth 1', rw: 'randread', size: '4k', depth: 1, target: 1.0 },
  { name: 'random read 4 KiB, depth 16', rw: 'randread', size: '4k', depth: 16, target: 1.5 },
  { name: 'random write 4 KiB, depth 1', rw: 'randwrite', size: '4k', depth: 1, target: 1.0 },
  { name: 'random write 4 KiB, depth 16', rw: 'randwrite', size: '4k', depth: 16, target: 1.5 },
  { name: 'bulk read 256 KiB, depth 8', rw: 'read', size: '256k', depth: 8, target: 1.0, isBulk: true },
  { name: 'bulk write 256 KiB, depth 8', rw: 'write', size: '256k', depth: 8, target: 1.0, isBulk: true },
];
/** Of depth 16 the target is for what is in memory; cold, storage sets the pace of both. */
const COLD_TESTS = TESTS.map((test) => ({ ...test, target: Math.min(test.target, 1.0) }));

export async function run(context) {
  const title = 'NBD, dynamic VHDX, against qemu-nbd (requests a second; bulk MB/s)';
  if (!(await has('qemu-nbd', '--version')))
    return { title, skipped: 'qemu-nbd is missing (apt-get install qemu-utils)' };
  if (!(await has('fio', '--enghelp=nbd')))
    return { title, skipped: 'fio with its nbd engine is missing (apt-get install fio)' };
  const { folder, say } = context;

  say(`making two dynamic VHDX files of ${DISK_MIB} MiB`);
  const raw = join(folder, 'disk.raw');
  writeRandom(raw);
  const ours = { name: 'hv', file: join(folder, 'hv.vhdx'), socket: join(folder, 'hv.sock') };
  const anchor = { name: 'qemu-nbd', file: join(folder, 'qemu.vhdx'), socket: join(folder, 'qemu.sock') };
  const made = join(folder, 'made.vhdx');
  await runProgram('qemu-img', ['convert', '-f', 'raw', '-O', 'vhdx', '-o', 'subformat=dynamic', raw, made]);
  // Both are copies, and nothing is left to be written, so that they lie alike on the disk and in memory.
  for (const { file } of [ours, anchor]) copyFileSync(made, file);
  for (const path of [raw, made]) rmSync(path);
  await runProgram('sync', [folder]);

  const serve = fileURLToPath(new URL('serve-disk.mjs', import.meta.url));
  ours.child = new Child(process.execPath, [serve, ours.file, ours.socket]);
  anchor.child = new Child('qemu-nbd', [
    ...['--format=vhdx', '--cache=writeback', '--aio=threads', '--discard=unmap', '--persistent', '--shared=16'],
    `--socket=${anchor.socket}`,
    anchor.file,
  ]);
  try {
    for (const { socket, name } of [ours, anchor]) await until(() => existsSync(socket), `${name} to listen`);
    const rows = [];
    const only = process.env.HV_BENCH_ONLY ? new RegExp(process.env.HV_BENCH_ONLY) : /./;
    for (const isCold of [false, true]) {
      for (const test of isCold ? COLD_TESTS : TESTS) {
        const name = `${isCold ? 'cold' : 'warm'} ${test.name}`;
        if (only.test(name)) rows.push(await compare(context, name, test, isCold, ours, anchor));
      }
    }
    return { title, rows };
  } finally {
    await Promise.all([ours.child.stop(), anchor.child.stop()]);
  }
}

export async function compare(context, name, test, isCold, ours, anchor) {
  const pairs = [];
  if (!isCold) for (const server of [ours, anchor]) await warm(server.file);
  for (let round = 0; round < context.rounds; round++) {
    const pair = {};
    for (const server of [ours, anchor]) {
      if (isCold) await dropCache(server.file);
      const cpuBefore = server.child.cpuSeconds();
      const measured = await fio(context, test, server.socket);
      const cpu = (server.child.cpuSeconds() - cpuBefore) / measured.requests;
      pair[server.name] = { rate: test.isBulk ? measured.megabytes : measured.iops, cpu };
    }
    pairs.push(pair);
    context.say(`${name}: hv ${format(pair.hv.rate)}, qemu-nbd ${format(pair['qemu-nbd'].rate)}`);
  }
  const ratios = pairs.map((pair) => pair.hv.rate / pair['qemu-nbd'].rate);
  const cpuRatio = median(pairs.map((pair) => pair.hv.cpu / pair['qemu-nbd'].cpu));
  return {
    name,
    ours: format(median(pairs.map((pair) => pair.hv.rate))),
    anchor: format(median(pairs.map((pair) => pair['qemu-nbd'].rate))),
    ratio: median(ratios),
    ratios,
    target: test.target,
    note: `CPU per request ${cpuRatio.toFixed(2)}`,
  };
}

async function fio(context, test, socket) {
  const { stdout } = await runProgram('fio', [
    ...['--name=x', '--ioengine=nbd', `--uri=nbd+unix:///?socket=${socket}`, '--output-format=json', '--norandommap'],
    ...[`--rw=${test.rw}`, `--bs=${test.size}`, `--iodepth=${test.depth}`, `--size=${DISK_MIB}M`, '--randrepeat=0'],
    ...['--time_based', `--runtime=${context.seconds}`],
  ]);
  const { read, write } = JSON.parse(stdout.slice(stdout.indexOf('{'))).jobs[0];
  return {
    iops: read.iops + write.iops,
    megabytes: (read.bw_bytes + write.bw_bytes) / 1e6,
    requests: read.total_ios + write.total_ios,
  };
}

export function writeRandom(path) {
  const fd = openSync(path, 'w');
  const bytes = Buffer.alloc(8 * MIB);
  for (let at = 0; at < DISK_MIB * MIB; at += bytes.length) writeSync(fd, randomFillSync(bytes), 0, bytes.length, at);
  closeSync(fd);
}

async function warm(path) {
  await runProgram('dd', [`if=${path}`, 'of=/dev/null', 'bs=4M']);
}

/** dd asks the kernel to forget the file; what is not yet written cannot be forgotten, so that goes first. */
async function dropCache(path) {
  await runProgram('dd', [`of=${path}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0']);
  await runProgram('dd', [`if=${path}`, 'iflag=nocache', 'count=0']);
}

function format(value) {
  return value >= 10_000 ? `${(value / 1000).toFixed(1)} k` : value.toFixed(0);
}
