/**
 * From the call of start to a running machine, against QEMU alone with the same devices on the same disk. The worker's own
 * start is measured apart: once with it, once with the worker waiting already.
 */
import { spawn } from 'node:child_process';
import { copyFileSync, readFileSync, rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { HyperV } from '../dist/index.js';
import { median } from './measure.mjs';

const MEMORY_BYTES = 512 * 2 ** 20;

export async function run(context) {
  const title =
    'Machine start to running, against bare QEMU (milliseconds; 512 MiB, Generation 2, one disk, one adapter)';
  const home = join(context.folder, 'home');
  const hv = await HyperV.open({ home });
  // One machine runs all the time, so that the keeper's start is not measured either.
  const other = await hv.createVm({ name: 'other', memoryBytes: MEMORY_BYTES });
  const vm = await hv.createVm({ name: 'measured', memoryBytes: MEMORY_BYTES, newDiskSizeBytes: 2 ** 30 });
  const samples = { cold: [], warm: [], bare: [] };
  try {
    await other.start();
    await vm.start();
    const { processes, hardDiskDrives } = await vm.info();
    const args = readFileSync(`/proc/${processes.engine}/cmdline`, 'utf8').split('\0').slice(0, -1);
    await vm.forceStop();
    copyFileSync(`${dirname((await vm.info()).configurationPath)}/data/nvram.fd`, join(context.folder, 'variables.fd'));
    const bare = bareArguments(args, hardDiskDrives[0].path, context.folder);
    for (let round = 0; round < context.rounds; round++) {
      samples.cold.push(await timed(() => vm.start()));
      await vm.forceStop();
      await startWorker(vm, home);
      samples.warm.push(await timed(() => vm.start()));
      await vm.forceStop();
      samples.bare.push(await bareStart(bare, context.folder));
    }
  } finally {
    for (const each of [vm, other]) {
      await each.forceStop();
      await each.delete({ withDisks: true });
    }
  }
  const row = (name, ours) => {
    const ratios = ours.map((value, index) => value / samples.bare[index]);
    const over = median(ours.map((value, index) => value - samples.bare[index]));
    return {
      name,
      ours: median(ours).toFixed(0),
      anchor: median(samples.bare).toFixed(0),
      ratio: median(ratios),
      ratios,
      isLowerBetter: true,
      note: `${over.toFixed(0)} ms over QEMU`,
    };
  };
  return { title, rows: [row('start, with its worker', samples.cold), row('start, worker waiting', samples.warm)] };
}

async function timed(work) {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}

/** Has the keeper start the worker ahead of the machine. */
async function startWorker(vm, home) {
  const { EngineContext } = await import('../dist/engines/qemu/context.js');
  const { resolvePaths } = await import('../dist/state/index.js');
  const worker = await new EngineContext(resolvePaths({ home })).startWorker(vm.id);
  await worker.close();
}

/** The machine's own arguments, with the disk opened by QEMU itself and paths of our own. */
function bareArguments(args, diskPath, folder) {
  const out = [];
  for (let index = 1; index < args.length; index++) {
    const arg = args[index];
    const next = args[index + 1] ?? '';
    if (arg === '-blockdev' && next.includes('"driver":"nbd"')) {
      const { 'node-name': name } = JSON.parse(next);
      out.push(
        '-blockdev',
        JSON.stringify({ driver: 'vhdx', 'node-name': name, file: { driver: 'file', filename: diskPath } }),
      );
      index++;
    } else if (arg === '-blockdev' && next.includes('firmware-variables')) {
      const { file, ...node } = JSON.parse(next);
      out.push('-blockdev', JSON.stringify({ ...node, file: { ...file, filename: join(folder, 'variables.fd') } }));
      index++;
    } else
      out.push(
        arg
          .replace(/path=[^,]*\/([a-z]+\.sock)/, `path=${folder}/$1`)
          .replace(/logfile=[^,]*/, `logfile=${folder}/serial.log`),
      );
  }
  return [args[0], out];
}

async function bareStart([program, args], folder) {
  const socketPath = join(folder, 'qmp.sock');
  rmSync(socketPath, { force: true });
  const startedAt = performance.now();
  const qemu = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const exited = new Promise((resolve) => qemu.once('exit', resolve));
  try {
    return await monitorAnswers(socketPath, startedAt);
  } finally {
    qemu.kill('SIGKILL');
    await exited;
  }
}

/** Connects as soon as somebody listens, sets the machine going, and says when that was answered. */
async function monitorAnswers(socketPath, startedAt) {
  for (;;) {
    try {
      return await new Promise((resolve, reject) => {
        const socket = createConnection(socketPath);
        let text = '';
        socket.on('error', reject);
        socket.on('data', (chunk) => {
          text += chunk;
          if (!text.includes('"id": 2')) return;
          resolve(performance.now() - startedAt);
          socket.destroy();
        });
        socket.write('{"execute":"qmp_capabilities","id":1}\n{"execute":"cont","id":2}\n');
      });
    } catch (error) {
      if (error.code !== 'ENOENT' && error.code !== 'ECONNREFUSED') throw error;
      await setTimeout(1);
    }
  }
}
