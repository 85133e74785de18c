// Runs in the guest of nbd-guest.ts, with the built library beside it: mounts disks as NBD devices of a real kernel and
// prints one line for each thing that was so, or the first that was not.
import { strict as assert } from 'node:assert';
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, existsSync, fsyncSync, openSync, readdirSync, readFileSync, readSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { createVhd, openVhd } from './dist/disk/index.js';
import { openQemuHost } from './dist/engines/qemu/index.js';

const MIB = 2 ** 20;
const DISK = '/disk.vhdx';
const run = (program, ...args) => execFileSync(program, args, { encoding: 'utf8' }).trim();
const seen = (what) => console.log(`seen: ${what}`);
const write = (path, offset, bytes) => {
  const fd = openSync(path, 'r+');
  try {
    writeSync(fd, bytes, 0, bytes.length, offset);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
};
const read = (path, offset, length) => {
  const fd = openSync(path, 'r');
  const bytes = Buffer.alloc(length);
  readSync(fd, bytes, 0, length, offset);
  closeSync(fd);
  return bytes;
};
const inFile = async (path, offset, length) => {
  const device = await openVhd(path, { readOnly: true });
  const bytes = Buffer.alloc(length);
  device.read(offset, bytes, 0, length);
  await device.close();
  return bytes;
};
const fails = async (promise, code) => {
  try {
    await promise;
  } catch (error) {
    assert.equal(error.code, code, error.stack);
    return error;
  }
  throw new Error(`nothing failed with ${code}`);
};
const until = async (what, done) => {
  for (let tries = 0; !(await done()); tries++) {
    if (tries > 300) {
      for (const name of readdirSync('/sys/block').filter((found) => /^nbd[01]$/.test(found))) {
        const files = readdirSync(`/sys/block/${name}`).filter((file) => file === 'pid' || file.startsWith('nbd'));
        console.log(name, readFileSync(`/sys/block/${name}/size`, 'latin1').trim(), files.join(' '));
      }
      throw new Error(`waited in vain: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
};
const attachedNbd = () => readdirSync('/sys/block').filter((name) => existsSync(`/sys/block/${name}/pid`));
/** No device is attached, and none looks as if it were. */
const isFree = () => {
  const names = readdirSync('/sys/block').filter((name) => name.startsWith('nbd'));
  const hasSize = (name) => readFileSync(`/sys/block/${name}/size`, 'latin1').trim() !== '0';
  return attachedNbd().length === 0 && !names.some(hasSize) && !readdirSync('/dev').some((name) => /^nbd[0-9]+p/.test(name));
};

try {
  const { disks } = await openQemuHost({ home: '/tmp/home' });

  assert.equal(existsSync('/sys/module/nbd'), false);
  const ways = await disks.mountWays();
  assert.deepEqual(ways[0], { way: 'nbd', missing: null, fix: null });
  assert.equal(existsSync('/sys/module/nbd'), false);
  seen('the way nbd is offered first, and asking loads no module');

  let disk = await disks.mount(DISK);
  assert.equal(disk.way, 'nbd');
  assert.match(disk.devicePath, /^\/dev\/nbd[0-9]+$/);
  const [part1, part2] = disk.partitions;
  assert.deepEqual([part1.devicePath, part2.devicePath], [`${disk.devicePath}p1`, `${disk.devicePath}p2`]);
  assert.equal(run('blockdev', '--getsize64', disk.devicePath), String(64 * MIB));
  assert.equal(run('blockdev', '--getss', disk.devicePath), '512');
  assert.equal(run('blockdev', '--getsize64', part1.devicePath), String(part1.sizeBytes));
  assert.equal(readFileSync(`/proc/${disk.processId}/status`, 'latin1').match(/^CapEff:\s+0+$/m) !== null, true);
  seen('mounted as a device with its partitions, by a worker without privileges');

  assert.equal(read(part2.devicePath, 4096, 12).toString(), 'from outside');
  seen('read what was in the disk');
  write(part1.devicePath, MIB, Buffer.alloc(3 * MIB, 'through the kernel '));
  write(disk.devicePath, 60 * MIB, Buffer.alloc(4096, 'whole disk '));
  seen('written and flushed');

  const holder = spawn('sh', ['-c', `exec 3<${part1.devicePath} && echo open && exec sleep 1000`]);
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  await fails(disks.dismount(DISK), 'in-use');
  assert.equal((await disks.attached())[0].state, 'attached');
  holder.kill('SIGKILL');
  await new Promise((resolve) => holder.once('exit', resolve));
  seen('not dismounted while somebody has a partition open');

  await disks.dismount(DISK);
  await until('the device is free', isFree);
  assert.deepEqual(readdirSync('/run').filter((name) => name.startsWith('m-')), []);
  assert.equal((await inFile(DISK, part1.offsetBytes + MIB, 3 * MIB)).equals(Buffer.alloc(3 * MIB, 'through the kernel ')), true);
  assert.equal((await inFile(DISK, 60 * MIB, 4096)).equals(Buffer.alloc(4096, 'whole disk ')), true);
  seen('dismounted; the file holds what was written');

  disk = await disks.mount(DISK, { readOnly: true });
  assert.equal(run('blockdev', '--getro', disk.devicePath), '1');
  assert.throws(() => write(disk.partitions[0].devicePath, 0, Buffer.alloc(512, 1)), /EPERM|EROFS|EACCES/);
  assert.equal(read(disk.partitions[1].devicePath, 4096, 12).toString(), 'from outside');
  const own = openSync(disk.devicePath, 'r');
  await fails(disks.dismount(DISK), 'in-use');
  closeSync(own);
  await disks.dismount(DISK);
  await until('the device is free', isFree);
  seen('read-only is read-only; not dismounted while this very process has it open');

  await createVhd('/tmp/4k.vhdx', { sizeBytes: 64 * MIB, blockSizeBytes: MIB, logicalSectorSizeBytes: 4096, physicalSectorSizeBytes: 4096 });
  await createVhd('/tmp/old.vhd', { sizeBytes: 64 * MIB });
  const first = await disks.mount('/tmp/4k.vhdx');
  const second = await disks.mount('/tmp/old.vhd');
  assert.notEqual(first.devicePath, second.devicePath);
  assert.deepEqual([first, second].map(({ devicePath }) => run('blockdev', '--getss', devicePath)), ['4096', '512']);
  write(first.devicePath, 8 * MIB, Buffer.alloc(2 * MIB, 'four'));
  write(second.devicePath, 8 * MIB, Buffer.alloc(8192, 'half'));
  run('blkdiscard', '-o', String(8 * MIB), '-l', String(MIB), first.devicePath);
  await disks.dismount('/tmp/4k.vhdx');
  await disks.dismount('/tmp/old.vhd');
  await until('the devices are free', isFree);
  assert.equal((await inFile('/tmp/4k.vhdx', 9 * MIB, MIB)).toString(), 'four'.repeat(MIB / 4));
  assert.equal((await inFile('/tmp/4k.vhdx', 8 * MIB, MIB)).equals(Buffer.alloc(MIB)), true);
  assert.equal((await inFile('/tmp/old.vhd', 8 * MIB, 8192)).toString(), 'half'.repeat(2048));
  seen('two disks at once, with their own sectors, one of them VHD; a discard');

  disk = await disks.mount(DISK);
  write(disk.partitions[0].devicePath, 8 * MIB, Buffer.alloc(65536, 'before the kill'));
  process.kill(disk.processId, 'SIGKILL');
  await until('broken', async () => (await disks.attached())[0].state === 'broken');
  await until('the kernel lets the device go', () => attachedNbd().length === 0);
  await disks.dismount(DISK);
  assert.deepEqual(await disks.attached(), []);
  assert.equal((await inFile(DISK, part1.offsetBytes + 8 * MIB, 65536)).equals(Buffer.alloc(65536, 'before the kill')), true);
  seen('a killed worker: broken, the device is free by itself, nothing acknowledged is lost, cleaned up');

  disk = await disks.mount(DISK);
  write(disk.devicePath, 61 * MIB, Buffer.from('by hand'.padEnd(512)));
  run('nbd-client', '-nonetlink', '-d', disk.devicePath);
  await until('the worker leaves', () => !existsSync(`/proc/${disk.processId}`));
  assert.equal((await inFile(DISK, 61 * MIB, 7)).toString(), 'by hand');
  await disks.dismount(DISK);
  seen('somebody else detaches the device: the disk is closed in order');

  disk = await disks.mount(DISK);
  run('mke2fs', '-q', '-F', '-t', 'ext4', disk.partitions[1].devicePath);
  await disks.dismount(DISK);
  disk = await disks.mount(DISK, { mountFileSystems: true, trusted: true });
  assert.equal(disk.way, 'nbd');
  writeFileSync(`${disk.partitions[1].mountPath}/hello`, 'from the guest');
  await disks.dismount(DISK);
  disk = await disks.mount(DISK, { mountFileSystems: true });
  assert.equal(readFileSync(`${disk.partitions[1].mountPath}/hello`, 'utf8'), 'from the guest');
  process.kill(disk.processId, 'SIGKILL');
  await until('broken', async () => (await disks.attached())[0].state === 'broken');
  await disks.dismount(DISK);
  await until('the device is free', () => attachedNbd().length === 0);
  assert.equal(readFileSync('/proc/self/mountinfo', 'utf8').includes('/run/'), false);
  seen('file systems inside are mounted when asked, and cleaned up after a kill');

  disk = await disks.mount(DISK);
  const stale = openSync(disk.devicePath, 'r');
  run('nbd-client', '-nonetlink', '-d', disk.devicePath);
  await until('the worker leaves', () => !existsSync(`/proc/${disk.processId}`));
  await disks.dismount(DISK);
  const other = await disks.mount(DISK);
  assert.notEqual(other.devicePath, disk.devicePath);
  await disks.dismount(DISK);
  closeSync(stale);
  seen('a device that somebody still has open from its last disk is not taken for another');

  run('modprobe', '-r', 'nbd');
  run('modprobe', 'nbd', 'nbds_max=1');
  // As in a container: the nodes that were given to it, and none for partitions.
  run('mount', '-t', 'tmpfs', 'dev', '/dev');
  for (const node of ['null c 1 3', 'urandom c 1 9', 'loop-control c 10 237', 'loop0 b 7 0', 'loop1 b 7 1', 'nbd0 b 43 0']) {
    run('mknod', ...`/dev/${node}`.split(' '));
  }
  disk = await disks.mount(DISK);
  assert.match(disk.partitions[0].devicePath, /^\/dev\/loop[0-9]+$/);
  write(disk.partitions[0].devicePath, 12 * MIB, Buffer.alloc(4096, 'loop'));
  await fails(disks.mount('/tmp/old.vhd'), 'in-use');
  await disks.dismount(DISK);
  await until('the device is free', isFree);
  run('umount', '-l', '/dev');
  assert.equal(run('losetup', '--list', '--noheadings', '--output', 'BACK-FILE'), '');
  assert.equal((await inFile(DISK, part1.offsetBytes + 12 * MIB, 4096)).toString(), 'loop'.repeat(1024));
  seen('without nodes for the partitions they are loop devices; that no device is free is said so');

  console.log(`disk bytes: ${statSync(DISK).size}`);
  console.log('ALL SEEN');
} catch (error) {
  console.log(error.stack, error.detail ?? '', error.cause ?? '');
  for (const name of readdirSync('/run')) {
    try {
      console.log(readFileSync(`/run/${name}/worker.log`, 'utf8'));
    } catch {}
  }
}
