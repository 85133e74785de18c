/**
 * Random writes into blocks that a dynamic VHD has already: hv's NBD server against qemu-nbd, on identical copies of one
 * file by qemu-img, filled with random data, with fio's nbd engine as the client of both. QEMU's driver writes a block's
 * sector bitmap anew whenever a write comes into another block than the one before; hv knows that it is whole.
 */
import { copyFileSync, existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Child, has, run as runProgram, until } from './measure.mjs';
import { compare, writeRandom } from './nbd.mjs';

const TESTS = [
  { name: 'random write 4 KiB, depth 16', rw: 'randwrite', size: '4k', depth: 16, target: 5 },
  { name: 'random write 4 KiB, depth 1', rw: 'randwrite', size: '4k', depth: 1 },
  { name: 'random read 4 KiB, depth 16', rw: 'randread', size: '4k', depth: 16, target: 1.5 },
];

export async function run(context) {
  const title = 'NBD, dynamic VHD, against qemu-nbd (requests a second)';
  if (!(await has('qemu-nbd', '--version')))
    return { title, skipped: 'qemu-nbd is missing (apt-get install qemu-utils)' };
  if (!(await has('fio', '--enghelp=nbd')))
    return { title, skipped: 'fio with its nbd engine is missing (apt-get install fio)' };
  const { folder, say } = context;

  say('making two dynamic VHD files of 1 GiB');
  const raw = join(folder, 'vhd.raw');
  writeRandom(raw);
  const ours = { name: 'hv', file: join(folder, 'hv.vhd'), socket: join(folder, 'hv-vhd.sock') };
  const anchor = { name: 'qemu-nbd', file: join(folder, 'qemu.vhd'), socket: join(folder, 'qemu-vhd.sock') };
  const made = join(folder, 'made.vhd');
  const options = 'subformat=dynamic,force_size=on';
  await runProgram('qemu-img', ['convert', '-f', 'raw', '-O', 'vpc', '-o', options, raw, made]);
  for (const { file } of [ours, anchor]) copyFileSync(made, file);
  for (const path of [raw, made]) rmSync(path);
  await runProgram('sync', [folder]);

  const serve = fileURLToPath(new URL('serve-disk.mjs', import.meta.url));
  ours.child = new Child(process.execPath, [serve, ours.file, ours.socket]);
  anchor.child = new Child('qemu-nbd', [
    ...['--format=vpc', '--cache=writeback', '--aio=threads', '--persistent', '--shared=16'],
    `--socket=${anchor.socket}`,
    anchor.file,
  ]);
  try {
    for (const { socket, name } of [ours, anchor]) await until(() => existsSync(socket), `${name} to listen`);
    const rows = [];
    for (const test of TESTS) rows.push(await compare(context, test.name, test, false, ours, anchor));
    return { title, rows };
  } finally {
    await Promise.all([ours.child.stop(), anchor.child.stop()]);
  }
}
