import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  lstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { has } from './programs.ts';
import { RawDevice } from './raw-device.ts';
import { Served } from './served.ts';

const MIB = 1024 * 1024;
const SIZE_BYTES = 96 * MIB;
const run = promisify(execFile);

async function output(program: string, ...args: string[]): Promise<string> {
  return (await run(program, args, { timeout: 60_000, maxBuffer: 16 * MIB })).stdout;
}

/** Data at the beginning and in the middle, holes elsewhere. */
function makeDisk(path: string): void {
  writeFileSync(path, '');
  truncateSync(path, SIZE_BYTES);
  const fd = openSync(path, 'r+');
  writeSync(fd, randomBytes(8 * MIB), 0, 8 * MIB, 0);
  writeSync(fd, randomBytes(3 * MIB), 0, 3 * MIB, 48 * MIB);
  closeSync(fd);
}

describe('nbd with other people’s clients', () => {
  let folder = '';
  let path = '';
  let device: RawDevice;
  let served: Served;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'hv-nbd-'));
    path = join(folder, 'disk.raw');
    makeDisk(path);
    device = new RawDevice(path);
    served = await Served.start(device);
  });
  afterAll(async () => {
    await served[Symbol.asyncDispose]();
    await device.close();
    rmSync(folder, { recursive: true, force: true });
  });

  describe.skipIf(!has('nbdinfo'))('libnbd (skipped where libnbd-bin is not installed)', () => {
    it('nbdinfo sees size, flags and contexts', async () => {
      const info = JSON.parse(await output('nbdinfo', '--json', served.uri));
      expect(info.protocol).toBe('newstyle-fixed');
      expect(info.structured).toBe(true);
      expect(info.exports[0]).toMatchObject({
        'export-size': SIZE_BYTES,
        contexts: ['base:allocation'],
        is_read_only: false,
        can_fua: true,
        can_flush: true,
        can_trim: true,
        can_zero: true,
        can_multi_conn: true,
        can_df: true,
        can_cache: true,
        can_fast_zero: true,
        block_size_preferred: 4096,
      });
    });

    it('nbdinfo --list finds the export and --map its holes', async () => {
      const list = JSON.parse(await output('nbdinfo', '--json', '--list', served.uri));
      expect(list.exports).toHaveLength(1);
      const map = JSON.parse(await output('nbdinfo', '--json', '--map', served.uri));
      expect(map.map(({ offset, length, type }: Record<string, number>) => [offset, length, type])).toEqual([
        [0, 8 * MIB, 0],
        [8 * MIB, 40 * MIB, 3],
        [48 * MIB, 3 * MIB, 0],
        [51 * MIB, 45 * MIB, 3],
      ]);
    });

    it('nbdcopy reads everything over several connections, with and without structured replies', async () => {
      const copy = join(folder, 'copy.raw');
      for (const options of [['--connections=4'], ['--no-extents'], ['--synchronous'], ['--request-size=33554432']]) {
        rmSync(copy, { force: true });
        await output('nbdcopy', ...options, served.uri, copy);
        expect(readFileSync(copy).equals(readFileSync(path)), options.join(' ')).toBe(true);
      }
    });

    it('nbdcopy writes everything, holes as zeros, and its flush is asked for', async () => {
      const source = join(folder, 'source.raw');
      makeDisk(source);
      const target = join(folder, 'target.raw');
      makeDisk(target);
      const targetDevice = new RawDevice(target);
      await using served = await Served.start(targetDevice);
      await output('nbdcopy', '--flush', '--connections=4', source, served.uri);
      expect(readFileSync(target).equals(readFileSync(source))).toBe(true);
      expect(served.export.stats.flushes).toBeGreaterThan(0);
      await targetDevice.close();
    });
  });

  describe.skipIf(!has('qemu-img'))('QEMU (skipped where qemu-utils is not installed)', () => {
    it('qemu-img compares, maps and converts', async () => {
      const compared = await output('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', served.uri, path);
      expect(compared).toContain('identical');
      const map = JSON.parse(await output('qemu-img', 'map', '--output=json', '-f', 'raw', served.uri));
      const data = map.filter((extent: { data: boolean }) => extent.data);
      expect(data.map(({ start, length }: Record<string, number>) => [start, length])).toEqual([
        [0, 8 * MIB],
        [48 * MIB, 3 * MIB],
      ]);
      const copy = join(folder, 'converted.raw');
      await output('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', '-m', '8', '-W', served.uri, copy);
      expect(readFileSync(copy).equals(readFileSync(path))).toBe(true);
    });

    it('qemu-io writes, zeroes, discards and reads back at odd places', async () => {
      const said = await output(
        'qemu-io',
        '-f',
        'raw',
        '-c',
        'write -P 7 20M 3M',
        '-c',
        'read -P 7 20M 3M',
        '-c',
        'write -z -u 21M 64k',
        '-c',
        'read -P 0 21M 64k',
        '-c',
        'write -f -P 9 12345 777',
        '-c',
        'read -P 9 12345 777',
        '-c',
        'aio_write -P 3 30M 2M',
        '-c',
        'aio_write -P 4 32M 2M',
        '-c',
        'aio_flush',
        '-c',
        'read -P 4 32M 2M',
        '-c',
        'discard 20M 1M',
        '-c',
        'read -P 0 20M 1M',
        '-c',
        'flush',
        served.uri,
      );
      expect(said).not.toMatch(/failed|error|mismatch/i);
      const now = readFileSync(path);
      expect(now.subarray(12345, 12345 + 777).every((byte) => byte === 9)).toBe(true);
      expect(now.subarray(21 * MIB + 65_536, 23 * MIB).every((byte) => byte === 7)).toBe(true);
      expect(now.subarray(32 * MIB, 34 * MIB).every((byte) => byte === 4)).toBe(true);
    });

    it('a client killed in the middle of writing harms nobody', async () => {
      const good = output('nbdcopy', served.uri, 'null:');
      for (let round = 0; round < 5; round++) {
        const victim = spawn('qemu-img', [
          'bench',
          '-f',
          'raw',
          '-w',
          '-c',
          '1000000',
          '-d',
          '32',
          '-s',
          '65536',
          served.uri,
        ]);
        const before = served.export.stats.writtenBytes;
        await expect.poll(() => served.export.stats.writtenBytes, { timeout: 10_000 }).toBeGreaterThan(before + MIB);
        const ended = new Promise((resolve) => victim.on('exit', resolve));
        victim.kill('SIGKILL');
        await ended;
      }
      await good;
      await expect.poll(() => served.export.stats.connections, { timeout: 10_000 }).toBe(0);
      expect(await output('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', served.uri, path)).toContain('identical');
    });
  });

  it('listening again replaces a dead socket and refuses a live one or a file', async () => {
    await expect(served.server.listen(served.socketPath)).rejects.toMatchObject({ code: 'in-use' });
    const file = join(folder, 'file');
    writeFileSync(file, '');
    await expect(served.server.listen(file)).rejects.toMatchObject({ code: 'in-use' });
    await expect(served.server.listen(join(folder, 'x'.repeat(120)))).rejects.toMatchObject({
      code: 'invalid-argument',
    });
    const dead = join(folder, 'dead');
    const orphan = `require('net').createServer().listen(${JSON.stringify(dead)}, () => process.kill(process.pid, 'SIGKILL'))`;
    await run(process.execPath, ['-e', orphan], { timeout: 10_000 }).catch(() => {});
    expect(lstatSync(dead).isSocket()).toBe(true);
    await served.server.listen(dead, { mode: 0o660 });
    expect(lstatSync(dead).mode & 0o777).toBe(0o660);
    expect(lstatSync(served.socketPath).mode & 0o777).toBe(0o600);
  });
});
