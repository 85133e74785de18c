import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { delimiter, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { GuestAgentClient } from '../../src/protocols/qga/index.ts';
import { QemuProcess } from './qemu-process.ts';

/** HV_QEMU_GA names the agent where it is not installed: it runs here as a plain process, without a guest. */
const program =
  process.env.HV_QEMU_GA ??
  [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin'].map((folder) => join(folder, 'qemu-ga')).find(existsSync);

/** What would change this machine. */
const BLOCKED =
  'guest-shutdown,guest-suspend-disk,guest-suspend-ram,guest-suspend-hybrid,guest-set-time,guest-fsfreeze-freeze';

async function startAgent(
  qemuGa: string,
): Promise<AsyncDisposable & { client: GuestAgentClient; child: ChildProcess; path(name: string): string }> {
  const folder = await QemuProcess.folder();
  const args = [
    '-m',
    'unix-listen',
    '-p',
    folder.path('a'),
    '-t',
    folder.path('.'),
    '-f',
    folder.path('pid'),
    '-b',
    BLOCKED,
  ];
  const child = spawn(qemuGa, args, { stdio: 'ignore' });
  const exited = once(child, 'exit');
  while (!existsSync(folder.path('a')) && child.exitCode === null)
    await new Promise((resolve) => setTimeout(resolve, 5));
  const client = await GuestAgentClient.connect(folder.path('a'));
  return {
    client,
    child,
    path: folder.path,
    [Symbol.asyncDispose]: async () => {
      await client.close();
      child.kill('SIGKILL');
      await exited;
      await folder[Symbol.asyncDispose]();
    },
  };
}

describe.skipIf(program === undefined)(
  'GuestAgentClient against the real qemu-ga (skipped without it: set HV_QEMU_GA)',
  () => {
    it('asks, runs programs, moves files, and recovers after a timeout', async () => {
      await using agent = await startAgent(program ?? '');
      const { client } = agent;
      await client.ping();
      const info = await client.info();
      expect(info.commands).toContain('guest-exec');
      expect(info.commands).not.toContain('guest-shutdown');
      await expect(client.hostName()).resolves.toBe(hostname());
      expect(Math.abs((await client.time()) - Date.now())).toBeLessThan(5000);
      expect((await client.osInfo()).machine).toBeTypeOf('string');
      const interfaces = await client.networkInterfaces();
      expect(interfaces.flatMap((entry) => entry.addresses.map((address) => address.address))).toContain('127.0.0.1');
      await expect(client.filesystemState()).resolves.toBe('thawed');

      const result = await client.exec('/bin/sh', ['-c', 'cat; echo "$X" >&2; exit 3'], {
        input: 'ä\n',
        environment: ['X=y'],
      });
      expect(result).toMatchObject({ exitCode: 3, isTruncated: false });
      expect([result.output.toString(), result.errorOutput.toString()]).toEqual(['ä\n', 'y\n']);
      const large = await client.exec('/bin/sh', ['-c', 'head -c 2000000 /dev/zero']);
      expect(large.output.equals(Buffer.alloc(2_000_000))).toBe(true);

      const content = Buffer.from(Array.from({ length: 700_000 }, (_, at) => (at * 7919) & 0xff));
      await client.fileWrite(agent.path('file'), content);
      expect((await readFile(agent.path('file'))).equals(content)).toBe(true);
      await client.fileWrite(agent.path('file'), Buffer.from('end'), { isAppended: true });
      expect((await client.fileRead(agent.path('file'))).equals(Buffer.concat([content, Buffer.from('end')]))).toBe(
        true,
      );
      await expect(client.fileRead(agent.path('none'))).rejects.toMatchObject({ code: 'guest-failed' });
      await expect(client.call('no-such-command')).rejects.toMatchObject({ code: 'unsupported' });
      await expect(client.shutdown()).rejects.toMatchObject({ code: 'unsupported' });
      agent.child.kill('SIGSTOP');
      await expect(client.hostName({ timeoutMs: 50 })).rejects.toMatchObject({ code: 'timeout' });
      agent.child.kill('SIGCONT');
      await expect(client.osInfo()).resolves.toHaveProperty('id'); // not the late synchronisation's answer
      await expect(client.exec('/bin/sleep', ['1'], { timeoutMs: 100 })).rejects.toMatchObject({ code: 'timeout' });
      await client.ping();
    });
  },
);
