import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, type TestContext, vi } from 'vitest';
import { nativeLibc } from '../native/index.ts';
import { peerCredentials, requirePeer } from './peer.ts';

let folder: string;
let path: string;
let server: Server;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'hv-peer-'));
  path = join(folder, 's');
  server = createServer();
  server.listen(path);
  await once(server, 'listening');
});

afterEach(() => {
  server.close();
  rmSync(folder, { recursive: true });
  vi.unstubAllEnvs();
  vi.resetModules();
});

function needsFfi(context: TestContext): void {
  if (!nativeLibc()) context.skip('peer credentials need FFI, which is absent or turned off');
}

async function accepted(): Promise<Socket> {
  const [socket] = (await once(server, 'connection')) as [Socket];
  return socket;
}

it('tells who connected', async (context) => {
  needsFfi(context);
  const arriving = accepted();
  const client = connect(path);
  const socket = await arriving;
  expect(peerCredentials(socket)).toEqual({ pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() });
  expect(requirePeer(socket)?.pid).toBe(process.pid);
  client.destroy();
  socket.destroy();
  await once(socket, 'close');
  expect(() => peerCredentials(socket)).toThrowError(expect.objectContaining({ code: 'io' }));
});

it('refuses another user', async (context) => {
  needsFfi(context);
  if (process.getuid?.() !== 0) context.skip('only root may connect as somebody else');
  chmodSync(folder, 0o755);
  chmodSync(path, 0o777);
  const arriving = accepted();
  // The child changes its user itself: another user may not be allowed to start this very Node.
  const script = `process.setgid(65534); process.setuid(65534); require('net').connect(${JSON.stringify(path)})`;
  const child = spawn(process.execPath, ['-e', script], { stdio: 'ignore' });
  const socket = await arriving;
  expect(() => requirePeer(socket)).toThrowError(
    expect.objectContaining({ code: 'permission-denied', detail: { pid: child.pid, uid: 65534 } }),
  );
  expect(requirePeer(socket, 65534)?.uid).toBe(65534);
  socket.destroy();
  child.kill('SIGKILL');
  await once(child, 'exit');
});

it('cannot tell without FFI, and says so', async () => {
  vi.resetModules();
  vi.stubEnv('HV_NO_FFI', '1');
  const plain = await import('./peer.ts');
  const arriving = accepted();
  const client = connect(path);
  const socket = await arriving;
  expect(plain.peerCredentials(socket)).toBeUndefined();
  expect(plain.requirePeer(socket)).toBeUndefined();
  client.destroy();
  socket.destroy();
});
