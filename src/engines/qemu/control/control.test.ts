import { mkdtemp, rm, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HvError } from '../../../errors/index.ts';
import { ControlClient } from './client.ts';
import { type Connection, ControlServer } from './server.ts';

let folder: string;
let socketPath: string;
let server: ControlServer | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hv-control-'));
  socketPath = join(folder, 'control.sock');
});

afterEach(async () => {
  await server?.[Symbol.asyncDispose]();
  server = undefined;
  await rm(folder, { recursive: true, force: true });
});

async function serve(
  answer: (message: Readonly<Record<string, unknown>>, connection: Connection) => Promise<void>,
): Promise<void> {
  server = await ControlServer.listen({
    socketPath,
    peer: 'a test',
    allowedUids: [process.getuid?.() ?? 0],
    onMessage: (connection, message) => answer(message, connection),
  });
}

describe('control sockets', () => {
  it('carry progress and the answer to the call that they belong to', async () => {
    await serve(async (message, connection) => {
      await connection.send({ id: message.id, progress: { phase: 'work', done: 1, total: 2 } });
      await connection.send({ id: 999, result: 'for nobody' });
      await connection.send({ id: message.id, result: message.op });
    });
    await using client = await ControlClient.connect(socketPath, 'the server');
    const seen: unknown[] = [];
    expect(await client.call({ op: 'a' }, { onProgress: (progress) => seen.push(progress) })).toBe('a');
    expect(await client.call({ op: 'b' })).toBe('b');
    expect(seen).toEqual([{ phase: 'work', done: 1, total: 2 }]);
  });

  it('are open to their owner alone', async () => {
    await serve(async () => {});
    expect((await stat(socketPath)).mode & 0o777).toBe(0o600);
  });

  it('bring an error over with its code, detail and hint', async () => {
    const failure = new HvError('in-use', 'it is held', { detail: { pid: 7 }, hint: 'Wait.' });
    await serve(async (message, connection) => connection.send({ id: message.id, error: failure.toJSON() }));
    await using client = await ControlClient.connect(socketPath, 'the server');
    await expect(client.call({ op: 'x' })).rejects.toMatchObject({ code: 'in-use', detail: { pid: 7 }, hint: 'Wait.' });
  });

  it('end every waiting call when the server dies', async () => {
    await serve(async () => {
      await server?.[Symbol.asyncDispose]();
    });
    await using client = await ControlClient.connect(socketPath, 'the server');
    const calls = [client.call({ op: 'a' }), client.call({ op: 'b' })];
    for (const result of await Promise.allSettled(calls)) {
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'process-failed' } });
    }
    await expect(client.call({ op: 'late' })).rejects.toMatchObject({ code: 'process-failed' });
  });

  it('end when the caller gives up, and tell the server', async () => {
    const gone = new Promise<void>((resolve) => {
      void serve(async (_message, connection) => {
        void connection.closed.then(resolve);
      });
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    await using client = await ControlClient.connect(socketPath, 'the server', { waitForSocketMs: 1000 });
    const signal = AbortSignal.timeout(30);
    await expect(client.call({ op: 'never answered' }, { signal })).rejects.toMatchObject({ code: 'aborted' });
    await gone;
  });

  it.each(['{"id":1}\n', 'not JSON\n', '{"id":1,"result":1,"error":{}}\n', '[]\n'])(
    'refuse what is not the protocol: %j',
    async (line) => {
      const { createServer } = await import('node:net');
      const rogue = createServer((socket) => {
        socket.on('error', () => {});
        socket.once('data', () => socket.write(line));
      });
      await new Promise<void>((resolve) => rogue.listen(socketPath, resolve));
      const client = await ControlClient.connect(socketPath, 'the server');
      await expect(client.call({ op: 'x' })).rejects.toMatchObject({ code: 'protocol' });
      await client.close();
      await new Promise((resolve) => rogue.close(resolve));
    },
  );

  it('serve others after a peer that sent a line without end', async () => {
    await serve(async (message, connection) => connection.send({ id: message.id, result: 1 }));
    const hostile = connect(socketPath);
    hostile.on('error', () => {});
    const ended = new Promise((resolve) => hostile.once('close', resolve));
    hostile.write(Buffer.alloc(3 * 2 ** 20, 'x'));
    await ended;
    await using client = await ControlClient.connect(socketPath, 'the server');
    expect(await client.call({ op: 'x' })).toBe(1);
  });

  it('take the place of a socket that a dead process left', async () => {
    await serve(async () => {});
    const before = server;
    await serve(async (message, connection) => connection.send({ id: message.id, result: 'new' }));
    await using client = await ControlClient.connect(socketPath, 'the server');
    expect(await client.call({ op: 'x' })).toBe('new');
    await before?.[Symbol.asyncDispose]();
  });
});
