import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HvError } from '../../../errors/index.ts';
import { ControlClient } from './client.ts';
import { type Connection, ControlServer } from './server.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hv-control-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe('an order to a process of another version of hv', () => {
  for (const [title, idOf] of [
    ['under its own number', (message: Readonly<Record<string, unknown>>) => message.id],
    ['under no number', () => 0],
  ] as const) {
    it(`fails when the answer, ${title}, is that it was not understood`, { timeout: 10_000 }, async () => {
      const socketPath = join(folder, 's');
      await using _server = await ControlServer.listen({
        socketPath,
        peer: 'a command',
        allowedUids: [],
        onMessage: (connection: Connection, message) =>
          connection.send({ id: idOf(message), error: new HvError('protocol', 'not understood').toJSON() }),
      });
      await using client = await ControlClient.connect(socketPath, 'the keeper');
      await expect(client.call({ op: 'dance' })).rejects.toMatchObject({ code: 'protocol', message: 'not understood' });
    });
  }
});
