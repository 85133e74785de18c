import { mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  cont,
  queryStatus,
  receiveMigration,
  restoreFromFile,
  returnToPaused,
  saveToFile,
  sendMigration,
  stop,
  waitPostmigrate,
} from '../../src/protocols/qmp/index.ts';
import { QemuProcess, qemuMissing } from './qemu-process.ts';

const MACHINE = ['-machine', 'pc-i440fx-7.2', '-m', '128', '-vga', 'std'];

describe.skipIf(qemuMissing)(
  `saving and restoring a real QEMU${qemuMissing ? ` (skipped: ${qemuMissing})` : ''}`,
  () => {
    it('saves a running guest into a file and restores it running in another QEMU', async () => {
      await using source = await QemuProcess.start(MACHINE);
      await using sourceClient = await source.connect();
      await cont(sourceClient);
      const filePath = source.path('state');
      const seen: number[] = [];
      const { sizeBytes, status } = await saveToFile(sourceClient, source.path('mig'), filePath, {
        onProgress: (progress) => seen.push(progress.done),
      });
      expect(status.state).toBe('completed');
      await waitPostmigrate(sourceClient);
      expect((await stat(filePath)).size).toBe(sizeBytes);
      expect(sizeBytes).toBeGreaterThan(100_000);
      expect((await stat(filePath)).mode & 0o777).toBe(0o600);
      expect(seen).toEqual([...seen].sort((a, b) => a - b));
      expect((await readdir(source.folder)).sort()).toEqual(['m', 'state']);

      await using target = await QemuProcess.start([...MACHINE, '-incoming', 'defer']);
      await using targetClient = await target.connect();
      await expect(queryStatus(targetClient)).resolves.toMatchObject({ state: 'inmigrate' });
      await restoreFromFile(targetClient, target.path('mig'), filePath);
      await cont(targetClient);
      await expect(queryStatus(targetClient)).resolves.toMatchObject({ state: 'running' });
      // The source may go on too: nothing of it was destroyed.
      await cont(sourceClient);
      await expect(queryStatus(sourceClient)).resolves.toMatchObject({ state: 'running' });
    });

    it('saves a paused guest again and again, and it stays paused', async () => {
      await using qemu = await QemuProcess.start(MACHINE);
      await using client = await qemu.connect();
      await cont(client);
      await stop(client);
      for (const name of ['first', 'second']) {
        await saveToFile(client, qemu.path('mig'), qemu.path(name));
        await waitPostmigrate(client);
        await expect(saveToFile(client, qemu.path('mig'), qemu.path('no'))).rejects.toMatchObject({
          code: 'process-failed',
        });
        const resumed = client.waitForEvent('RESUME');
        const stopped = client.waitForEvent('STOP');
        await returnToPaused(client);
        await expect(queryStatus(client)).resolves.toMatchObject({ state: 'paused' });
        const ranMs = ((await stopped).timestampMs ?? 0) - ((await resumed).timestampMs ?? 0);
        expect(ranMs).toBeLessThan(100);
      }
      expect((await readdir(qemu.folder)).sort()).toEqual(['first', 'm', 'second']);
    });

    it('writes the memory of a guest that runs on, or says that this kernel cannot', async () => {
      await using qemu = await QemuProcess.start(MACHINE);
      await using client = await qemu.connect();
      await cont(client);
      const saving = saveToFile(client, qemu.path('mig'), qemu.path('state'), { isBackgroundSnapshot: true });
      try {
        expect((await saving).status.state).toBe('completed');
        expect((await stat(qemu.path('state'))).size).toBeGreaterThan(100_000);
      } catch (error) {
        expect(error).toMatchObject({ code: 'unsupported' });
      }
      await expect(queryStatus(client)).resolves.toMatchObject({ state: 'running' });
      // The capability does not stay on for a plain save.
      await saveToFile(client, qemu.path('mig'), qemu.path('plain'));
      await expect(waitPostmigrate(client)).resolves.toMatchObject({ state: 'postmigrate' });
    });

    it('cancels at an abort, leaves no file and lets the guest go on', async () => {
      await using qemu = await QemuProcess.start(MACHINE);
      await using client = await qemu.connect();
      await cont(client);
      const abort = new AbortController();
      const saving = saveToFile(client, qemu.path('mig'), qemu.path('state'), {
        signal: abort.signal,
        onProgress: () => abort.abort(),
      });
      await expect(saving).rejects.toMatchObject({ code: 'aborted' });
      expect(await readdir(qemu.folder)).toEqual(['m']);
      await expect(queryStatus(client)).resolves.toMatchObject({ state: 'running' });
      await expect(saveToFile(client, qemu.path('mig'), qemu.path('state'))).resolves.toMatchObject({
        status: { state: 'completed' },
      });
    });

    it('gives up on a state larger than it may be, names that as the reason, and the guest goes on', async () => {
      await using qemu = await QemuProcess.start(MACHINE);
      await using client = await qemu.connect();
      await cont(client);
      await expect(
        saveToFile(client, qemu.path('mig'), qemu.path('state'), { maxBytes: 10_000 }),
      ).rejects.toMatchObject({ code: 'protocol', detail: { maxBytes: 10_000 } });
      expect(await readdir(qemu.folder)).toEqual(['m']);
      await stop(client);
      await cont(client);
      await expect(queryStatus(client)).resolves.toMatchObject({ state: 'running' });
    });

    it('refuses a file that holds no state before QEMU sees it, and reports a QEMU that refuses half of one', async () => {
      await using source = await QemuProcess.start(MACHINE);
      await using sourceClient = await source.connect();
      const filePath = source.path('state');
      const { sizeBytes } = await saveToFile(sourceClient, source.path('mig'), filePath);
      await writeFile(source.path('junk'), 'no state at all');
      await expect(sendMigration(source.path('junk'), source.path('nobody'))).rejects.toMatchObject({
        code: 'corrupt',
      });

      await truncate(filePath, Math.floor(sizeBytes / 2));
      await using target = await QemuProcess.start([...MACHINE, '-incoming', 'defer']);
      await using targetClient = await target.connect();
      await expect(restoreFromFile(targetClient, target.path('mig'), filePath)).rejects.toMatchObject({
        code: expect.stringMatching(/^(process-failed|io)$/),
      });
      await target.exited();
      expect(target.errorText).toContain('load of migration failed');
    });
  },
);

describe('receiveMigration', () => {
  it('accepts one peer only, and keeps nothing that does not begin like a state', async () => {
    await using folder = await QemuProcess.folder();
    await using sink = await receiveMigration(folder.path('s'), folder.path('state'));
    const first = connect(folder.path('s'));
    first.end('GET / HTTP/1.1\r\n\r\n');
    await expect(sink.commit()).rejects.toMatchObject({ code: 'protocol' });
    await sink[Symbol.asyncDispose]();
    expect(await readdir(folder.path('.'))).toEqual([]);
  });

  it('writes a stream larger than its buffers byte for byte', async () => {
    await using folder = await QemuProcess.folder();
    const bytes = Buffer.alloc(40 * 2 ** 20, 'state of a machine ');
    bytes.set([0x51, 0x45, 0x56, 0x4d, 0, 0, 0, 3]);
    await using sink = await receiveMigration(folder.path('s'), folder.path('state'));
    connect(folder.path('s')).end(bytes);
    await expect(sink.commit()).resolves.toBe(bytes.length);
    expect((await readFile(folder.path('state'))).equals(bytes)).toBe(true);

    // and back again through the sender
    await using second = await receiveMigration(folder.path('t'), folder.path('copy'));
    await expect(sendMigration(folder.path('state'), folder.path('t'))).resolves.toBe(bytes.length);
    await second.commit();
    expect((await readFile(folder.path('copy'))).equals(bytes)).toBe(true);
  });

  it('ends in a timeout when nobody connects, and refuses a path that is too long or taken', async () => {
    await using folder = await QemuProcess.folder();
    await using sink = await receiveMigration(folder.path('s'), folder.path('state'), { connectTimeoutMs: 50 });
    await expect(sink.commit()).rejects.toMatchObject({ code: 'timeout' });
    await expect(receiveMigration(`/${'x'.repeat(107)}`, folder.path('state'))).rejects.toMatchObject({
      code: 'invalid-argument',
    });
    await writeFile(folder.path('taken'), '');
    await expect(receiveMigration(folder.path('taken'), folder.path('state'))).rejects.toBeInstanceOf(Error);
    await sink[Symbol.asyncDispose]();
    expect(await readdir(folder.path('.'))).toEqual(['taken']);
  });
});

describe('sending a saved state', () => {
  it('has succeeded when QEMU hangs up at the last byte, however soon', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'hv-send-'));
    try {
      const filePath = join(folder, 'state');
      const head = Buffer.from([0x51, 0x45, 0x56, 0x4d, 0, 0, 0, 3]);
      for (const sizeBytes of [100, 2 ** 20, 2 ** 20 + 1, 3 * 2 ** 20 + 4096]) {
        await writeFile(filePath, Buffer.concat([head, Buffer.alloc(sizeBytes - head.length, 7)]));
        for (let round = 0; round < 25; round++) {
          const socketPath = join(folder, `${sizeBytes}-${round}`);
          const server = createServer((socket) => {
            let taken = 0;
            socket.on('error', () => {});
            socket.on('data', (chunk) => {
              taken += chunk.length;
              if (taken === sizeBytes) socket.destroy();
            });
          });
          await new Promise<void>((resolve) => server.listen(socketPath, resolve));
          expect(await sendMigration(filePath, socketPath)).toBe(sizeBytes);
          await new Promise((resolve) => server.close(resolve));
        }
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
