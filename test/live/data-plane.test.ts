import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createVhd, openVhd, vhdInfo } from '../../src/disk/index.ts';
import { DataPlane } from '../../src/protocols/nbd/index.ts';
import { Command } from '../../src/protocols/nbd/wire.ts';
import { TestClient } from '../nbd/client.ts';

const MIB = 1024 * 1024;
const DISK_BYTES = 64 * MIB;
const SLOTS = 64;

describe('operations on a disk that is served', () => {
  let folder = '';
  let socketPath = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'hv-live-'));
    socketPath = join(folder, 's');
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  /** A chain of files in the folder, the leaf last, each with data of its own. */
  async function makeChain(...names: string[]): Promise<string[]> {
    const paths = names.map((name) => join(folder, name));
    for (const [level, path] of paths.entries()) {
      const parentPath = paths[level - 1];
      await createVhd(path, parentPath ? { type: 'differencing', parentPath } : { sizeBytes: DISK_BYTES });
      await using disk = await openVhd(path);
      for (let slot = level; slot < SLOTS; slot += level + 2) {
        disk.write(slot * MIB, Buffer.alloc(512 * 1024, 100 + level), 0, 512 * 1024);
      }
    }
    return paths;
  }

  /** Clients that write without end; each knows what it was told is written. */
  class Users implements AsyncDisposable {
    readonly #acknowledged = new Map<number, number>();
    readonly #working: Promise<void>[] = [];
    #isOver = false;

    readonly clients: readonly TestClient[];

    constructor(clients: readonly TestClient[]) {
      this.clients = clients;
      for (const [index, client] of clients.entries()) this.#working.push(this.#work(client, index));
    }

    static async start(count: number): Promise<Users> {
      return new Users(
        await Promise.all(Array.from({ length: count }, () => TestClient.connect(socketPath, { name: 'disk' }))),
      );
    }

    async #work(client: TestClient, index: number): Promise<void> {
      for (let turn = 1; !this.#isOver; turn++) {
        const slot = ((turn * 7) % (SLOTS / 4)) * 4 + index;
        const value = turn % 7 === 0 ? 0 : 1 + (turn % 90);
        const at = slot * MIB + 256 * 1024;
        const reply =
          value === 0
            ? await client.request(Command.writeZeroes, 0, at, 65_536)
            : await client.write(at, Buffer.alloc(65_536, value));
        expect(reply.error).toBe(0);
        this.#acknowledged.set(at, value);
        if (turn % 16 === 0) expect((await client.request(Command.flush, 0, 0, 0)).error).toBe(0);
      }
    }

    async stop(): Promise<ReadonlyMap<number, number>> {
      this.#isOver = true;
      await Promise.all(this.#working);
      return this.#acknowledged;
    }

    async [Symbol.asyncDispose](): Promise<void> {
      await this.stop();
      await Promise.all(this.clients.map((client) => client.disconnect()));
    }
  }

  async function expectOnDisk(path: string, acknowledged: ReadonlyMap<number, number>): Promise<void> {
    await using disk = await openVhd(path, { readOnly: true });
    const data = Buffer.alloc(65_536);
    for (const [at, value] of acknowledged) {
      disk.read(at, data, 0, data.length);
      expect(
        data.every((byte) => byte === value),
        `at ${at / MIB} MiB`,
      ).toBe(true);
    }
  }

  it('merges a file below the leaf under writers, and the files say so', async () => {
    const [base = '', middle = '', leaf = ''] = await makeChain('base.vhdx', 'middle.avhdx', 'leaf.avhdx');
    await using plane = await DataPlane.start();
    await plane.addExport({ name: 'disk', path: leaf, mergeable: [folder] });
    await plane.listen(socketPath);
    const users = await Users.start(3);
    const seen: number[] = [];
    const onProgress = ({ done }: { readonly done: number }): number => seen.push(done);
    const started = await plane.startMerge({ name: 'disk', path: middle, parentPath: base }, { onProgress });
    expect(started).toEqual({ isLeaf: false });
    expect(seen.at(-1)).toBe(DISK_BYTES);
    await expect(plane.prepareChild('disk', join(folder, 'x.avhdx'))).rejects.toMatchObject({ code: 'in-use' });
    await plane.commitMerge('disk');
    await expect(plane.commitMerge('disk')).rejects.toMatchObject({ code: 'invalid-state' });
    await pause(50);
    const acknowledged = await users.stop();
    expect((await plane.stats()).disk?.errors).toBe(0);
    await users[Symbol.asyncDispose]();
    await plane.removeExport('disk');
    rmSync(middle);
    expect((await vhdInfo(leaf)).parentPath).toBe(base);
    await expectOnDisk(leaf, acknowledged);
    await using disk = await openVhd(leaf, { readOnly: true });
    const data = Buffer.alloc(4096);
    for (const [slot, value] of [
      [0, 100],
      [1, 101],
      [2, 102],
      [3, 0],
      [4, 101],
    ] as const) {
      disk.read(slot * MIB, data, 0, data.length);
      expect(data[0], `slot ${slot}`).toBe(value);
    }
  });

  it('merges the leaf itself: requests wait while it is decided, then go to the parent', async () => {
    const [base = '', leaf = ''] = await makeChain('base.vhdx', 'leaf.avhdx');
    await using plane = await DataPlane.start();
    await plane.addExport({ name: 'disk', path: leaf, mergeable: [base] });
    await plane.listen(socketPath);
    const users = await Users.start(3);
    expect(await plane.startMerge({ name: 'disk', path: leaf, parentPath: base })).toEqual({ isLeaf: true });
    await pause(50);
    await expect(plane.commitMerge('disk')).rejects.toMatchObject({ code: 'invalid-state' });
    await plane.closeMerge('disk');
    const before = (await plane.stats()).disk?.requests;
    await pause(50);
    expect((await plane.stats()).disk?.requests).toBe(before);
    await plane.reopenMerge('disk');
    await pause(50);
    expect((await plane.stats()).disk?.requests).toBeGreaterThan(before ?? 0);
    await plane.closeMerge('disk');
    await plane.commitMerge('disk');
    rmSync(leaf);
    await pause(50);
    const acknowledged = await users.stop();
    expect((await plane.stats()).disk?.errors).toBe(0);
    await users[Symbol.asyncDispose]();
    // The parent can have a child again.
    await plane.prepareChild('disk', join(folder, 'next.avhdx'));
    await plane.commitChild('disk');
    await plane.removeExport('disk');
    await expectOnDisk(base, acknowledged);
    await expectOnDisk(join(folder, 'next.avhdx'), acknowledged);
  });

  it('gives a merge up when it is cancelled or its disk goes, and the chain stays sound', async () => {
    const [base = '', middle = '', leaf = ''] = await makeChain('base.vhdx', 'middle.avhdx', 'leaf.avhdx');
    const plane = await DataPlane.start();
    await plane.addExport({ name: 'disk', path: leaf, mergeable: [folder] });
    const control = new AbortController();
    const merging = plane.startMerge({ name: 'disk', path: middle, parentPath: base }, { signal: control.signal });
    control.abort();
    await expect(merging).rejects.toMatchObject({ code: 'aborted' });
    const cut = plane.startMerge({ name: 'disk', path: leaf, parentPath: middle });
    const refused = expect(cut).rejects.toMatchObject({ code: 'aborted' });
    await plane.close();
    await refused;
    await using disk = await openVhd(leaf);
    const data = Buffer.alloc(4096);
    disk.read(2 * MIB, data, 0, data.length);
    expect(data[0]).toBe(102);
  });

  it('refuses what is not in the chain or may not be written to', async () => {
    const [base = '', middle = '', leaf = ''] = await makeChain('base.vhdx', 'middle.avhdx', 'leaf.avhdx');
    await using plane = await DataPlane.start();
    await plane.addExport({ name: 'disk', path: leaf, mergeable: [middle] });
    const merge = (path: string, parentPath: string): Promise<unknown> =>
      plane.startMerge({ name: 'disk', path, parentPath });
    await expect(merge(leaf, base)).rejects.toMatchObject({ code: 'not-found' });
    await expect(merge(join(folder, 'other'), leaf)).rejects.toMatchObject({ code: 'not-found' });
    await expect(merge(middle, base)).rejects.toMatchObject({ code: 'permission-denied' });
    await expect(merge(leaf, middle)).resolves.toEqual({ isLeaf: true });
    await expect(merge(leaf, middle)).rejects.toMatchObject({ code: 'in-use' });
    await plane.abandonMerge('disk');
    await plane.abandonMerge('disk');
    // Readers of a parent are no writers' company.
    await using reader = await openVhd(middle, { readOnly: true });
    await expect(merge(leaf, middle)).rejects.toMatchObject({ code: 'in-use' });
    expect(reader.readOnly).toBe(true);
  });

  it('mirrors a disk under writers to a second file, and goes on with either', async () => {
    const [, leaf = ''] = await makeChain('base.vhdx', 'leaf.avhdx');
    const first = join(folder, 'first.vhdx');
    const second = join(folder, 'second.vhd');
    for (const path of [first, second]) await createVhd(path, { sizeBytes: DISK_BYTES });
    await using plane = await DataPlane.start();
    const open = (mirrorPath: string): Promise<unknown> => plane.addExport({ name: 'disk', path: leaf, mirrorPath });
    await open(first);
    await plane.listen(socketPath);
    const users = await Users.start(3);
    const seen: number[] = [];
    await plane.waitMirror('disk', { onProgress: ({ done }) => seen.push(done) });
    await plane.waitMirror('disk');
    await expect(plane.startMerge({ name: 'disk', path: leaf, parentPath: first })).rejects.toMatchObject({
      code: 'in-use',
    });
    await pause(50);
    await plane.endMirror('disk');
    await plane.endMirror('disk');
    await expect(plane.waitMirror('disk')).rejects.toMatchObject({ code: 'invalid-state' });
    const acknowledged = new Map(await users.stop());
    await users[Symbol.asyncDispose]();
    await plane.removeExport('disk');

    // Now the same again, and on with the mirror: of another format.
    await open(second);
    const more = await Users.start(2);
    await plane.waitMirror('disk');
    await expect(plane.switchToMirror('disk')).rejects.toMatchObject({ code: 'invalid-state' });
    await plane.closeMirror('disk');
    await plane.reopenMirror('disk');
    await pause(30);
    await plane.closeMirror('disk');
    const atSwitch = (await plane.stats()).disk?.requests ?? 0;
    await plane.switchToMirror('disk');
    await pause(50);
    expect((await plane.stats()).disk?.requests).toBeGreaterThan(atSwitch);
    for (const [at, value] of await more.stop()) acknowledged.set(at, value);
    expect((await plane.stats()).disk?.errors).toBe(0);
    await more[Symbol.asyncDispose]();
    await plane.removeExport('disk');
    await expectOnDisk(second, acknowledged);
    await using disk = await openVhd(second, { readOnly: true });
    const data = Buffer.alloc(4096);
    disk.read(4 * MIB, data, 0, data.length);
    expect(data[0]).toBe(101);
  });

  it('serves a disk whose mirror cannot be had, and says why there is none', async () => {
    const [base = ''] = await makeChain('base.vhdx');
    await createVhd(join(folder, 'small.vhdx'), { sizeBytes: DISK_BYTES / 2 });
    await using plane = await DataPlane.start();
    await plane.addExport({ name: 'disk', path: base, mirrorPath: join(folder, 'missing.vhdx') });
    await expect(plane.waitMirror('disk')).rejects.toMatchObject({ code: 'not-found' });
    await plane.endMirror('disk');
    await plane.removeExport('disk');
    await plane.addExport({ name: 'disk', path: base, mirrorPath: join(folder, 'small.vhdx') });
    await expect(plane.waitMirror('disk')).rejects.toMatchObject({ code: 'invalid-argument' });
    await plane.listen(socketPath);
    const client = await TestClient.connect(socketPath, { name: 'disk' });
    expect((await client.write(0, Buffer.alloc(4096, 1))).error).toBe(0);
    await client.disconnect();
  });
});
