import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createVhd, openVhd } from '../../src/disk/index.ts';
import type { HvError } from '../../src/errors/index.ts';
import { DataPlane, serveDisk } from '../../src/protocols/nbd/index.ts';
import { Command, CommandFlag } from '../../src/protocols/nbd/wire.ts';
import { TestClient } from './client.ts';
import { has } from './programs.ts';

const MIB = 1024 * 1024;
const run = promisify(execFile);

describe('the disk data plane', () => {
  let folder = '';
  let socketPath = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'hv-plane-'));
    socketPath = join(folder, 's');
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  async function newDisk(name = 'disk.vhdx', sizeBytes = 256 * MIB): Promise<string> {
    const path = join(folder, name);
    await createVhd(path, { sizeBytes, blockSizeBytes: 2 * MIB });
    return path;
  }

  it('serves dynamic VHDX disks that qemu-img then finds whole', async () => {
    const path = await newDisk();
    const plane = await DataPlane.start();
    expect(await plane.addExport({ name: 'a', path })).toEqual({ sizeBytes: 256 * MIB, layers: [path] });
    expect(await plane.addExport({ name: 'b', path: await newDisk('b.vhdx', 8 * MIB) })).toMatchObject({
      sizeBytes: 8 * MIB,
    });
    await plane.listen(socketPath);
    const client = await TestClient.connect(socketPath, { name: 'a' });
    for (let block = 0; block < 32; block++) {
      expect((await client.write(block * 7 * MIB + 512, Buffer.alloc(100_000, block + 1))).error).toBe(0);
    }
    expect((await client.request(Command.trim, 0, 14 * MIB, 2 * MIB)).error).toBe(0);
    expect((await client.request(Command.writeZeroes, CommandFlag.fua, 28 * MIB, MIB)).error).toBe(0);
    const reply = await client.read(0, 32 * MIB);
    for (const at of [1024, 7 * MIB + 1024, 21 * MIB + 1024]) expect(reply.data[at]).toBe(Math.floor(at / 7 / MIB) + 1);
    expect(reply.data[14 * MIB + 1024]).toBe(0);
    expect(reply.data[28 * MIB + 1024]).toBe(0);
    const { extents } = await client.request(Command.blockStatus, 0, 0, 256 * MIB);
    expect(extents.reduce((sum, { length }) => sum + length, 0)).toBe(256 * MIB);
    expect(extents[0]).toEqual({ length: 2 * MIB, flags: 0 });
    await client.disconnect();
    expect((await plane.stats()).a).toMatchObject({ connections: 0, errors: 0, writtenBytes: 3_200_000 });
    await plane.close();
    if (has('qemu-img')) {
      expect((await run('qemu-img', ['check', '-f', 'vhdx', path])).stdout).toContain('No errors');
    }
    await using disk = await openVhd(path, { readOnly: true });
    const bytes = Buffer.alloc(512);
    disk.read(7 * MIB + 512, bytes, 0, 512);
    expect(bytes.every((byte) => byte === 2)).toBe(true);
  });

  it('takes a child under running writers, and loses nothing', async () => {
    const path = await newDisk();
    await using plane = await DataPlane.start();
    await plane.addExport({ name: 'disk', path });
    await plane.listen(socketPath);
    const clients = await Promise.all(
      Array.from({ length: 3 }, () => TestClient.connect(socketPath, { name: 'disk' })),
    );
    const acknowledged: number[] = new Array(3 * 64).fill(0);
    let isOver = false;
    const writers = clients.map(async (client, index) => {
      for (let turn = 1; !isOver; turn++) {
        const slot = index * 64 + (turn % 64);
        expect((await client.write(slot * MIB, Buffer.alloc(65_536, turn % 255))).error).toBe(0);
        acknowledged[slot] = turn % 255;
      }
    });
    const readers = clients.map(async (client, index) => {
      while (!isOver) expect((await client.read(index * 64 * MIB, 4 * MIB)).error).toBe(0);
    });
    for (const name of ['one.avhdx', 'two.avhdx', 'three.avhdx']) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      await plane.prepareChild('disk', join(folder, name));
      await new Promise((resolve) => setTimeout(resolve, 20));
      await plane.commitChild('disk');
    }
    await plane.prepareChild('disk', join(folder, 'never.avhdx'));
    await plane.abandonChild('disk');
    await new Promise((resolve) => setTimeout(resolve, 50));
    isOver = true;
    await Promise.all([...writers, ...readers]);
    expect(existsSync(join(folder, 'never.avhdx'))).toBe(false);
    for (const [slot, value] of acknowledged.entries()) {
      const reply = await clients[0]?.read(slot * MIB, 65_536);
      expect(reply?.data.every((byte) => byte === value)).toBe(true);
    }
    await plane.removeExport('disk');
    await using chain = await openVhd(join(folder, 'three.avhdx'), { readOnly: true });
    const bytes = Buffer.alloc(4096);
    for (const [slot, value] of acknowledged.entries()) {
      chain.read(slot * MIB, bytes, 0, bytes.length);
      expect(bytes.every((byte) => byte === value)).toBe(true);
    }
    await expect(plane.commitChild('disk')).rejects.toMatchObject({ code: 'not-found' });
  });

  it('answers calls and new connections while clients never stop asking', async () => {
    await using plane = await DataPlane.start();
    await plane.addExport({ name: 'a', path: await newDisk() });
    await plane.listen(socketPath);
    const clients = [
      await TestClient.connect(socketPath, { name: 'a' }),
      await TestClient.connect(socketPath, { name: 'a' }),
    ];
    const counts = [0, 0];
    let isOver = false;
    const busy = clients.map(async (client, index) => {
      for (let turn = 0; !isOver; turn++) {
        const payload = Buffer.alloc(4096, turn);
        await client.write(index * MIB, payload);
        expect((await client.read(index * MIB, 4096)).data.equals(payload)).toBe(true);
        counts[index] = turn;
      }
    });
    for (let turn = 0; turn < 20; turn++) {
      await plane.stats();
      await plane.flush('a');
    }
    const late = await TestClient.connect(socketPath, { name: 'a' });
    expect((await late.read(0, 4096)).error).toBe(0);
    await new Promise((resolve) => setTimeout(resolve, 200));
    isOver = true;
    await Promise.all(busy);
    expect(Math.min(...counts)).toBeGreaterThan(Math.max(...counts) / 4);
    await Promise.all([...clients, late].map((client) => client.disconnect()));
  });

  it('passes errors on with code and detail, and goes on', async () => {
    const path = await newDisk();
    await using plane = await DataPlane.start();
    const missing = join(folder, 'missing.vhdx');
    await expect(plane.addExport({ name: 'x', path: missing })).rejects.toMatchObject({
      code: 'not-found',
      name: 'HvError',
    });
    await plane.addExport({ name: 'a', path });
    await expect(plane.addExport({ name: 'a', path })).rejects.toMatchObject({ code: 'already-exists' });
    await expect(plane.addExport({ name: 'again', path })).rejects.toMatchObject({ code: 'in-use' });
    await expect(plane.commitChild('a')).rejects.toMatchObject({ code: 'invalid-state' });
    await expect(plane.flush('nope')).rejects.toMatchObject({ code: 'not-found' });
    await expect(plane.removeExport('nope')).rejects.toMatchObject({ code: 'not-found' });
    await expect(plane.listen(join(folder, 'no', 'such', 's'))).rejects.toMatchObject({ code: 'not-found' });
    await plane.flush();
    await plane.removeExport('a');
    await plane.addExport({ name: 'a', path, readOnly: true });
    await plane.listen(socketPath);
    const client = await TestClient.connect(socketPath, { name: 'a' });
    expect((await client.write(0, Buffer.alloc(512))).error).toBe(1);
    await client.disconnect();
  });

  it('closes what it has when it is closed, twice too, and then refuses work', async () => {
    const path = await newDisk();
    const plane = await DataPlane.start();
    await plane.addExport({ name: '', path });
    await plane.listen(socketPath);
    const client = await TestClient.connect(socketPath);
    expect((await client.write(MIB, Buffer.alloc(4096, 5))).error).toBe(0);
    await Promise.all([plane.close(), plane.close(), client.closed]);
    await expect(plane.stats()).rejects.toMatchObject({ code: 'process-failed' });
    expect(existsSync(socketPath)).toBe(false);
    await using disk = await openVhd(path);
    const bytes = Buffer.alloc(4096);
    disk.read(MIB, bytes, 0, bytes.length);
    expect(bytes.every((byte) => byte === 5)).toBe(true);
  });

  it('tells its owner when the thread dies, and rejects what was pending', async () => {
    // In a process of its own: the thread is made to die from inside, by a fault that nothing can catch.
    const program = `
      import { DataPlane } from ${JSON.stringify(new URL('../../dist/protocols/nbd/index.js', import.meta.url).href)};
      import { Worker } from 'node:worker_threads';
      let thread;
      const post = Worker.prototype.postMessage;
      Worker.prototype.postMessage = function (...message) { thread = this; return post.apply(this, message); };
      const plane = await DataPlane.start({ onFailure: (error) => console.log('failure', error.code) });
      await plane.stats();
      const pending = plane.listen(${JSON.stringify(socketPath)}).then(() => plane.flush());
      await thread.terminate();
      await pending.catch((error) => console.log('pending', error.code));
      await plane.stats().catch((error) => console.log('later', error.code));
      await plane.close();
    `;
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', program], { timeout: 20_000 });
    expect(stdout.trim().split('\n').sort()).toEqual([
      'failure process-failed',
      'later process-failed',
      'pending process-failed',
    ]);
  });

  it('serves one disk until it is told to stop, as `hv vhd serve` does', async () => {
    const path = await newDisk();
    const ending = new AbortController();
    let seen = '';
    await serveDisk({
      path,
      socketPath,
      signal: ending.signal,
      onListening: ({ uri, layers }) => {
        expect(layers).toEqual([path]);
        void (async () => {
          const client = await TestClient.connect(socketPath);
          await client.write(0, Buffer.alloc(512, 9));
          seen = has('nbdinfo') ? (await run('nbdinfo', ['--size', uri])).stdout.trim() : String(256 * MIB);
          ending.abort();
        })();
      },
    });
    expect(seen).toBe(String(256 * MIB));
    await using disk = await openVhd(path);
    const bytes = Buffer.alloc(512);
    disk.read(0, bytes, 0, 512);
    expect(bytes[0]).toBe(9);
  });

  it('says why a disk cannot be served', async () => {
    const ending = new AbortController();
    const failure = await serveDisk({ path: join(folder, 'x.vhdx'), socketPath, signal: ending.signal }).catch(
      (error: HvError) => error,
    );
    expect(failure).toMatchObject({ code: 'not-found' });
    ending.abort();
    await expect(serveDisk({ path: await newDisk(), socketPath, signal: ending.signal })).rejects.toMatchObject({
      code: 'aborted',
    });
  });
});
