import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { entryPoint } from './entry-point.ts';
import { bootId, isAlive, ownIdentity, type ProcessIdentity, readProcess } from './process-identity.ts';

const children: ChildProcess[] = [];

afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  vi.unstubAllEnvs();
  vi.resetModules();
});

async function sleeper(): Promise<{ child: ChildProcess; identity: ProcessIdentity }> {
  const child = spawn('sleep', ['30'], { stdio: 'ignore' });
  children.push(child);
  await once(child, 'spawn');
  const identity = readProcess(child.pid ?? 0);
  if (!identity) throw new Error('the process is gone');
  return { child, identity };
}

describe.each([
  { way: 'with FFI', noFfi: '' },
  { way: 'without FFI', noFfi: '1' },
])('waitForExit $way', ({ noFfi }) => {
  async function load(): Promise<typeof import('./pidfd.ts')> {
    vi.resetModules();
    vi.stubEnv('HV_NO_FFI', noFfi);
    return import('./pidfd.ts');
  }

  it('ends when the process ends, and not before', async () => {
    const { waitForExit } = await load();
    const [first, second] = [await sleeper(), await sleeper()];
    const ended: string[] = [];
    const waits = [
      waitForExit(first.identity).then(() => ended.push('first')),
      waitForExit(second.identity).then(() => ended.push('second')),
    ];
    await new Promise((resolve) => setTimeout(resolve, 120));
    expect(ended).toEqual([]);
    second.child.kill('SIGKILL');
    await waits[1];
    expect(ended).toEqual(['second']);
    expect(isAlive(first.identity)).toBe(true);
    first.child.kill('SIGTERM');
    await waits[0];
    expect(isAlive(first.identity)).toBe(false);
  });

  it('takes a later process with the same number for another one', async () => {
    const { waitForExit } = await load();
    const { identity } = await sleeper();
    await waitForExit({ pid: identity.pid, startTicks: identity.startTicks - 1 });
    await waitForExit({ pid: 2 ** 22 - 1, startTicks: 1 });
  });

  it('stops waiting on abort and leaves the process and no descriptor behind', async () => {
    const { waitForExit } = await load();
    const { identity } = await sleeper();
    await expect(waitForExit(identity, { signal: AbortSignal.timeout(30) })).rejects.toMatchObject({ code: 'aborted' });
    await expect(waitForExit(identity, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' });
    expect(isAlive(identity)).toBe(true);
    await vi.waitFor(() => expect(pidfdsOf(process.pid)).toBe(0));
  });
});

function pidfdsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fdinfo`).filter((fd) => {
    try {
      return readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1').includes('\nPid:');
    } catch {
      return false; // the descriptor that readdir itself used
    }
  }).length;
}

it('does not keep a process from exiting for longer than one bounded wait', async () => {
  const { identity } = await sleeper();
  const script = `
    import { waitForExit } from ${JSON.stringify(entryPoint(import.meta.url, './pidfd.js').href)};
    waitForExit(${JSON.stringify(identity)}).catch(() => {});
    setTimeout(() => process.exit(7), 20);`;
  const started = performance.now();
  const { status } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { timeout: 10_000 });
  expect(status).toBe(7);
  expect(performance.now() - started).toBeLessThan(3000);
});

describe('process identity', () => {
  it('tells name, parent and state', async () => {
    const { child } = await sleeper();
    expect(readProcess(child.pid ?? 0)).toMatchObject({ command: 'sleep', parentPid: process.pid });
    expect(isAlive(ownIdentity())).toBe(true);
  });

  it('reads past names that hold brackets and spaces', async () => {
    const code = "printf 'a) R 1 (b' > /proc/$$/comm; read _";
    const odd = spawn('bash', ['-c', code], { stdio: ['pipe', 'ignore', 'ignore'] });
    children.push(odd);
    await vi.waitFor(() => expect(readProcess(odd.pid ?? 0)?.command).toBe('a) R 1 (b'));
    expect(readProcess(odd.pid ?? 0)).toMatchObject({ parentPid: process.pid });
  });

  it('counts a zombie as ended', async () => {
    const parent = spawn('bash', ['-c', 'sleep 0.3 & echo $!; exec sleep 30'], { stdio: ['ignore', 'pipe', 'ignore'] });
    children.push(parent);
    const [line] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(line.toString());
    await vi.waitFor(() => expect(readProcess(pid)?.state).toBe('Z'));
    const zombie = readProcess(pid);
    expect(zombie && isAlive(zombie)).toBe(false);
  });

  it('knows no process by a number that is none', () => {
    for (const pid of [0, -1, 1.5, Number.NaN, 2 ** 22 - 1]) expect(readProcess(pid)).toBeUndefined();
  });

  it('has a boot id', () => {
    expect(bootId()).toMatch(/^[0-9a-f-]{36}$/);
  });
});
