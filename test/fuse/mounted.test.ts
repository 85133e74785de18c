import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { mkdtemp, open, readdir, readFile, rm, rmdir, stat, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HvError } from '../../src/errors/index.ts';
import { canMountFuse, FuseChannel, mountFuse, unmountFuse } from '../../src/protocols/fuse/index.ts';
import { descriptorMailbox, findProgram, hasFfi, isRoot, runProgram } from '../../src/system/index.ts';
import { MemoryDevice } from '../nbd/memory-device.ts';

// The kernel's side of the protocol, for real. This process answers what it asks: asynchronous calls alone, few at once (they
// and the answers share one thread pool), and no file open while a program is started (starting one closes it and waits).
const obstacle = await canMountFuse();
const why = obstacle ? ` (skipped: ${obstacle.missing})` : '';

const MIB = 2 ** 20;
let folder = '';
let device: MemoryDevice;
let channel: FuseChannel | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hv-fuse-'));
});
afterEach(async () => {
  if (channel) {
    await unmountFuse(folder, { isLazy: true }).catch(() => {}); // a test may have done it
    await channel.ended;
    channel = undefined;
  }
  await rmdir(folder);
});

async function mount(options: { readonly readOnly?: boolean } = {}): Promise<void> {
  device = new MemoryDevice(16 * MIB, options);
  for (let at = 0; at < device.bytes.length; at += 4096) device.bytes.writeUInt32LE(at, at);
  channel = await mountFuse({
    folder,
    device,
    views: [
      { name: 'disk.raw', offset: 0, sizeBytes: 16 * MIB },
      { name: 'part1', offset: MIB, sizeBytes: 4 * MIB },
      { name: 'part2', offset: 5 * MIB, sizeBytes: 11 * MIB },
    ],
  });
}

const at = (name: string): string => join(folder, name);

describe.skipIf(obstacle !== undefined)(`a disk as files${why}`, { timeout: 30_000 }, () => {
  it('lists the disk and its parts with their sizes, for their owner alone', async () => {
    await mount();
    expect((await readdir(folder)).sort()).toEqual(['disk.raw', 'part1', 'part2']);
    const found = await stat(at('part1'));
    expect([found.size, found.mode & 0o7777, found.uid, found.isFile()]).toEqual([
      4 * MIB,
      0o600,
      process.getuid?.(),
      true,
    ]);
    await expect(stat(at('part3'))).rejects.toMatchObject({ code: 'ENOENT' });
    if (isRoot()) {
      const args = ['--reuid=65534', '--regid=65534', '--clear-groups', 'cat', at('part1')];
      await expect(runProgram('setpriv', args, { deadlineMs: 5000 })).rejects.toMatchObject({ code: 'process-failed' });
    }
  });

  it('reads what the disk holds, whole and in pieces at odd places', async () => {
    await mount();
    expect((await readFile(at('disk.raw'))).equals(device.bytes)).toBe(true);
    expect((await readFile(at('part2'))).equals(device.bytes.subarray(5 * MIB))).toBe(true);
    await using file = await open(at('part1'), 'r');
    for (const [position, length] of [
      [1, 1],
      [4095, 3],
      [4 * MIB - 5, 100],
      [1234567, 2 * MIB],
      [4 * MIB, 10],
    ] as const) {
      // biome-ignore format: a table
      const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, position);
      const wanted = device.bytes.subarray(MIB + position, Math.min(MIB + position + length, 5 * MIB));
      expect(buffer.subarray(0, bytesRead).equals(wanted)).toBe(true);
    }
  });

  it('writes through to the disk at once, and each file sees what another wrote', async () => {
    await mount();
    await using file = await open(at('part1'), 'r+');
    await using whole = await open(at('disk.raw'), 'r+');
    const data = Buffer.alloc(3 * MIB + 17, 'hv');
    await file.write(data, 0, data.length, 1001);
    expect(device.bytes.subarray(MIB + 1001, MIB + 1001 + data.length).equals(data)).toBe(true);
    const { buffer } = await whole.read(Buffer.alloc(100), 0, 100, MIB + 2000);
    expect(buffer).toEqual(device.bytes.subarray(MIB + 2000, MIB + 2100));
    await whole.write(Buffer.from('over'), 0, 4, MIB + 1001);
    expect((await file.read(Buffer.alloc(4), 0, 4, 1001)).buffer.toString()).toBe('over');
  });

  it('flushes the disk for fsync and tells its failure', async () => {
    await mount();
    await using file = await open(at('disk.raw'), 'r+');
    await file.sync();
    await file.datasync();
    expect(device.flushes).toBe(2);
    device.failure = { kind: 'flush', error: new HvError('io', 'broken') };
    await expect(file.sync()).rejects.toMatchObject({ code: 'EIO' });
    device.failure = { kind: 'write', error: new HvError('no-space', 'full') };
    await expect(file.write(Buffer.alloc(10), 0, 10, 0)).rejects.toMatchObject({ code: 'ENOSPC' });
    device.failure = undefined;
  });

  it('keeps its size: no write behind the end, no cutting, no new files', async () => {
    await mount();
    await using file = await open(at('part1'), 'r+');
    await expect(file.write(Buffer.alloc(10), 0, 10, 4 * MIB)).rejects.toMatchObject({ code: 'ENOSPC' });
    expect((await file.write(Buffer.alloc(10), 0, 10, 4 * MIB - 4)).bytesWritten).toBe(4);
    expect(device.bytes.readUInt32LE(5 * MIB)).toBe(5 * MIB);
    await expect(truncate(at('part1'), 0)).rejects.toMatchObject({ code: 'EPERM' });
    await truncate(at('part1'), 4 * MIB);
    await expect(open(at('new'), 'w')).rejects.toMatchObject({ code: expect.stringMatching(/ENOSYS|EACCES|EPERM/) });
    await expect(rm(at('part1'))).rejects.toMatchObject({ code: expect.stringMatching(/ENOSYS|EACCES|EPERM/) });
  });

  it('gives space back for a punched hole, and tells where data lies', async () => {
    await mount();
    device.write(2 * MIB, Buffer.alloc(MIB, 1), 0, MIB);
    const fallocate = async (...args: string[]): Promise<unknown> =>
      runProgram('fallocate', [...args, at('part1')], { deadlineMs: 10_000 });
    await fallocate('--punch-hole', '--offset', String(MIB), '--length', String(MIB / 2));
    expect(device.bytes.subarray(2 * MIB, 2.5 * MIB).every((byte) => byte === 0)).toBe(true);
    expect([...device.extents(2 * MIB, MIB / 2)].every(({ kind }) => kind === 'hole')).toBe(true);
    await fallocate('--zero-range', '--keep-size', '--offset', String(1.5 * MIB), '--length', '4096');
    expect(device.bytes.readUInt8(2.5 * MIB)).toBe(0);
    expect([...device.extents(2.5 * MIB, 4096)].map(({ kind }) => kind)).toEqual(['data']);
    if (hasFfi()) {
      const { stdout } = await runProgram(process.execPath, ['--input-type=module', '-e', SEEK, at('part1')], {
        deadlineMs: 10_000,
      });
      expect(JSON.parse(stdout.toString())).toEqual([1.5 * MIB, 0]);
    }
    await expect(fallocate('--length', '4096')).rejects.toMatchObject({ code: 'process-failed' });
  });

  it('is read-only where the disk is', async () => {
    await mount({ readOnly: true });
    await expect(open(at('disk.raw'), 'r+')).rejects.toMatchObject({ code: 'EROFS' });
    await using file = await open(at('disk.raw'), constants.O_RDONLY);
    await file.sync();
    expect((await stat(at('disk.raw'))).mode & 0o777).toBe(0o400);
    expect(device.flushes).toBe(0);
  });

  it('serves several at once', async () => {
    await mount();
    await using file = await open(at('disk.raw'), 'r+');
    const work = async (index: number): Promise<void> => {
      const block = Buffer.alloc(64 * 1024, index + 1);
      await file.write(block, 0, block.length, index * block.length);
      if (index % 8 === 0) await file.sync();
      const { buffer } = await file.read(Buffer.alloc(block.length), 0, block.length, index * block.length);
      expect(buffer.equals(block)).toBe(true);
    };
    for (let index = 0; index < 64; index += 2) await Promise.all([work(index), work(index + 1)]);
  });

  it('cannot be unmounted while a file is open, and ends when it is', async () => {
    await mount();
    const holder = spawn('sh', ['-c', 'exec 3<"$1" && echo open && exec sleep 60', 'sh', at('disk.raw')]);
    await once(holder.stdout, 'data');
    await expect(unmountFuse(folder)).rejects.toMatchObject({ code: 'process-failed' });
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    await unmountFuse(folder);
    await channel?.ended;
    expect(await readdir(folder)).toEqual([]);
  });
});

// As somebody without privileges does it; root may use the same program.
const program = await findProgram('fusermount3');
const noProgram =
  program === undefined ? 'fusermount3 is not installed' : !hasFfi() ? 'no FFI here' : obstacle?.missing;

describe.skipIf(noProgram !== undefined)(
  `a disk as files, mounted by fusermount3${noProgram === undefined ? '' : ` (skipped: ${noProgram})`}`,
  { timeout: 30_000 },
  () => {
    it('takes the descriptor that the program sends, and serves on it', async () => {
      device = new MemoryDevice(MIB);
      device.bytes.write('sent by descriptor', 1000);
      using mailbox = descriptorMailbox();
      expect(() => mailbox.take()).toThrow(expect.objectContaining({ code: 'protocol' }));
      await runProgram('fusermount3', ['-o', 'rw,nosuid,nodev,fsname=hv,subtype=hv', '--', folder], {
        deadlineMs: 10_000,
        descriptors: [mailbox.programEnd],
        env: { _FUSE_COMMFD: '3' },
      });
      const views = [{ name: 'disk.raw', offset: 0, sizeBytes: MIB }];
      channel = new FuseChannel(mailbox.take(), { device, views, uid: 0, gid: 0 });
      expect((await readFile(at('disk.raw'))).toString('latin1', 1000, 1018)).toBe('sent by descriptor');
      expect(() => mailbox.take()).toThrow(expect.objectContaining({ code: 'protocol' }));
      await unmountFuse(folder);
      await channel.ended;
    });
  },
);

/** The first data behind 1 MiB, and the first hole: only what was written counts as data here. */
const SEEK = `
import { openSync } from 'node:fs';
import { nextData, nextHole } from ${JSON.stringify(new URL('../../dist/system/index.js', import.meta.url).href)};
const fd = openSync(process.argv[1], 'r');
console.log(JSON.stringify([nextData(fd, ${MIB}), nextHole(fd, 0)]));
`;
