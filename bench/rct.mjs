/** Writes to a VHDX file with changed blocks tracked, against the same file without: what tracking costs. */
import { join } from 'node:path';
import {
  createVhd,
  disableChangeTracking,
  enableChangeTracking,
  openChain,
  takeReferencePoint,
} from '../dist/disk/index.js';
import { median } from './measure.mjs';

const MIB = 2 ** 20;
const DISK_BYTES = 512 * MIB;

/** Each writes somewhere and says how much; `position` numbers the calls. */
const WORKLOADS = [
  { name: 'sequential 64 KiB', bytes: 65536, at: (position) => (position * 65536) % DISK_BYTES },
  { name: 'sequential 1 MiB', bytes: MIB, at: (position) => (position * MIB) % DISK_BYTES },
  { name: 'random 4 KiB', bytes: 4096, at: () => Math.floor(Math.random() * (DISK_BYTES / 4096)) * 4096 },
  {
    name: 'random 4 KiB, flush each 256',
    bytes: 4096,
    flushEvery: 256,
    at: () => Math.floor(Math.random() * (DISK_BYTES / 4096)) * 4096,
  },
];

/** One session: opened, written to for a while, flushed and closed; all of it counts. @returns bytes a second */
async function session(path, { bytes, at, flushEvery }, seconds) {
  const buffer = new Uint8Array(bytes).fill(7);
  const startedAt = performance.now();
  const endsAt = startedAt + seconds * 1000;
  const disk = openChain(path);
  let position = 0;
  while (performance.now() < endsAt) {
    for (let index = 0; index < 32; index++) disk.write(at(position++), buffer, 0, bytes);
    if (flushEvery && position % flushEvery === 0) await disk.flush();
  }
  await disk.flush();
  await disk.close();
  return (position * bytes) / ((performance.now() - startedAt) / 1000);
}

export async function run({ seconds, rounds, folder, say }) {
  const path = join(folder, 'tracked.vhdx');
  await createVhd(path, { sizeBytes: DISK_BYTES, blockSizeBytes: 2 * MIB });
  // Every block is there before anything is measured: what is compared is writing, not growing.
  const disk = openChain(path);
  for (let offset = 0; offset < DISK_BYTES; offset += MIB) disk.write(offset, new Uint8Array(MIB).fill(1), 0, MIB);
  await disk.close();
  const rows = [];
  for (const workload of WORKLOADS) {
    const pairs = [];
    for (let round = 0; round < rounds; round++) {
      const rates = {};
      // Each order in turn: the second of a pair finds other pages in memory.
      for (const kind of round % 2 === 0 ? ['off', 'on'] : ['on', 'off']) {
        if (kind === 'on') {
          await enableChangeTracking(path);
          await takeReferencePoint(path);
        } else await disableChangeTracking(path);
        rates[kind] = await session(path, workload, seconds);
      }
      pairs.push(rates);
      say(`  ${workload.name}: ${(rates.on / MIB).toFixed(0)} of ${(rates.off / MIB).toFixed(0)} MiB/s`);
    }
    const ratios = pairs.map(({ on, off }) => on / off);
    rows.push({
      name: workload.name,
      ours: `${(median(pairs.map(({ on }) => on)) / MIB).toFixed(0)} MiB/s`,
      anchor: `${(median(pairs.map(({ off }) => off)) / MIB).toFixed(0)} MiB/s`,
      ratio: median(ratios),
      ratios,
      target: 0.95,
    });
  }
  return { title: 'Changed block tracking: writes with it (hv) and without (anchor)', rows };
}
