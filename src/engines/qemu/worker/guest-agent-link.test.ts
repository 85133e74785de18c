import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { GuestAgentLink } from './guest-agent-link.ts';

let folder: string;
let socketPath: string;
let server: Server;
let connections = 0;

/** QEMU's side of the port: one client at a time is heard; a second one waits until the first has gone. */
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hv-link-'));
  socketPath = join(folder, 'agent.sock');
  connections = 0;
  const waiting: Socket[] = [];
  const hearNext = (): void => {
    const [socket] = waiting;
    socket?.once('close', () => {
      waiting.shift();
      hearNext();
    });
    socket?.on('data', (chunk) => answer(socket, chunk));
  };
  server = createServer((socket) => {
    connections++;
    socket.on('error', () => {});
    if (waiting.push(socket) === 1) hearNext();
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
});

afterEach(async () => {
  server.close();
  await rm(folder, { recursive: true, force: true });
});

const INTERFACES = [
  {
    name: 'lo',
    'hardware-address': '00:00:00:00:00:00',
    'ip-addresses': [{ 'ip-address': '127.0.0.1', 'ip-address-type': 'ipv4', prefix: 8 }],
  },
  {
    name: 'eth0',
    'hardware-address': '00:15:5d:01:02:03',
    'ip-addresses': [
      { 'ip-address': 'fe80::1', 'ip-address-type': 'ipv6', prefix: 64 },
      { 'ip-address': '10.0.2.15', 'ip-address-type': 'ipv4', prefix: 24 },
    ],
  },
];

/** The agent, for whole lines in whole chunks. */
function answer(socket: Socket, chunk: Buffer): void {
  const lines = chunk.toString('latin1').replaceAll('\u00ff', '').split('\n').filter(Boolean);
  for (const line of lines) {
    const { execute, arguments: args } = JSON.parse(line);
    const isSync = execute === 'guest-sync-delimited';
    const result = isSync ? args.id : execute === 'guest-ping' ? {} : INTERFACES;
    if (isSync) socket.write(Buffer.of(0xff));
    socket.write(`${JSON.stringify({ return: result })}\n`);
  }
}

const { signal } = new AbortController();

describe('GuestAgentLink', () => {
  it('asks nobody while nothing in the guest has the port open', async () => {
    const link = new GuestAgentLink(socketPath);
    expect(await link.isAlive(signal)).toBe(false);
    expect(await link.ipAddresses(signal)).toEqual([]);
    expect(connections).toBe(0);
    await link.close();
  });

  it('puts several questions at once over one connection, one after the other', async () => {
    const link = new GuestAgentLink(socketPath);
    link.isOpen = true;
    const answers = await Promise.all([link.isAlive(signal), link.ipAddresses(signal), link.isAlive(signal)]);
    expect(answers).toEqual([true, [{ macAddress: '00:15:5d:01:02:03', addresses: ['10.0.2.15'] }], true]);
    expect(connections).toBe(1);
    await link.close();
  });

  it('connects anew after its connection ended', async () => {
    const link = new GuestAgentLink(socketPath);
    link.isOpen = true;
    expect(await link.isAlive(signal)).toBe(true);
    await link.close();
    expect(await link.isAlive(signal)).toBe(true);
    expect(connections).toBe(2);
    await link.close();
  });

  it('is not alive, and soon says so, where nobody answers', async () => {
    server.close();
    const link = new GuestAgentLink(join(folder, 'no such socket'));
    link.isOpen = true;
    expect(await link.isAlive(signal)).toBe(false);
    await link.close();
  });
});
