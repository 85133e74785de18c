import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync, statSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hv-lock-'));
  path = join(folder, 'lock');
});

afterEach(() => {
  rmSync(folder, { recursive: true });
  vi.unstubAllEnvs();
  vi.resetModules();
});

async function fileLock(ffi: boolean): Promise<typeof import('./file-lock.ts')> {
  vi.resetModules();
  vi.stubEnv('HV_NO_FFI', ffi ? '' : '1');
  return import('./file-lock.ts');
}

/** Another process that holds the lock until its input ends. */
async function holder(): Promise<{ pid: number; stop(): Promise<void> }> {
  const child = spawn('flock', ['--exclusive', path, 'sh', '-c', 'echo held; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return {
    pid: child.pid ?? 0,
    async stop() {
      child.stdin.end();
      await once(child, 'exit');
    },
  };
}

describe.each([
  { way: 'with FFI', ffi: true },
  { way: 'without FFI', ffi: false },
])('$way', ({ ffi }) => {
  it('lets many share and one have it alone', async () => {
    const { lockFile, unlockFile } = await fileLock(ffi);
    const fds = [openSync(path, 'w+'), openSync(path, 'r+'), openSync(path, 'r+')] as const;
    try {
      expect(lockFile(fds[0], 'shared')).toBe(true);
      expect(lockFile(fds[1], 'shared')).toBe(true);
      expect(lockFile(fds[2], 'exclusive')).toBe(false);
      unlockFile(fds[0]);
      unlockFile(fds[1]);
      expect(lockFile(fds[2], 'exclusive')).toBe(true);
      expect(lockFile(fds[0], 'shared')).toBe(false);
    } finally {
      for (const fd of fds) closeSync(fd);
    }
  });

  it('keeps out whoever takes the lock the other way', async () => {
    const mine = await fileLock(ffi);
    const theirs = await fileLock(!ffi);
    await using lock = await mine.acquireLock(path, { timeoutMs: 0 });
    await expect(theirs.acquireLock(path, { timeoutMs: 0 })).rejects.toMatchObject({ code: 'in-use' });
    lock.release();
    await using _second = await theirs.acquireLock(path, { timeoutMs: 0 });
    await expect(mine.acquireLock(path, { timeoutMs: 30 })).rejects.toMatchObject({ code: 'in-use' });
  });

  it('creates the file for its owner only and does not let children keep the lock', async () => {
    const { acquireLock } = await fileLock(ffi);
    const lock = await acquireLock(path, { timeoutMs: 0 });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const child = spawn('sleep', ['20'], { stdio: 'ignore' });
    lock.release();
    lock.release();
    await (await acquireLock(path, { timeoutMs: 0 }))[Symbol.asyncDispose]();
    child.kill('SIGKILL');
    await once(child, 'exit');
  });

  it('names the process that holds it', async () => {
    const { acquireLock } = await fileLock(ffi);
    const other = await holder();
    await expect(acquireLock(path, { timeoutMs: 40 })).rejects.toMatchObject({
      code: 'in-use',
      message: expect.stringContaining(path),
      detail: { path, pid: other.pid },
    });
    await other.stop();
  });

  it('gets it as soon as the holder is gone', async () => {
    const { acquireLock } = await fileLock(ffi);
    const other = await holder();
    const waiting = acquireLock(path, { timeoutMs: 10_000 });
    process.kill(other.pid, 'SIGKILL');
    await other.stop(); // cat, the holder's child, shares the lock until its input ends
    (await waiting).release();
  });

  it('stops waiting on abort', async () => {
    const { acquireLock } = await fileLock(ffi);
    await using _lock = await acquireLock(path, { timeoutMs: 0 });
    await expect(acquireLock(path, { timeoutMs: 10_000, signal: AbortSignal.timeout(30) })).rejects.toMatchObject({
      code: 'aborted',
    });
  });

  it('does not accept the lock of a file that was removed', async () => {
    const { acquireLock } = await fileLock(ffi);
    const old = await acquireLock(path, { timeoutMs: 0 });
    unlinkSync(path);
    await using fresh = await acquireLock(path, { timeoutMs: 0 });
    old.release();
    await expect(acquireLock(path, { timeoutMs: 0 })).rejects.toMatchObject({ code: 'in-use' });
    fresh.release();
  });
});

it('refuses to follow a symbolic link and says when the folder is missing', async () => {
  const { acquireLock } = await fileLock(true);
  spawnSync('ln', ['-s', '/etc/hostname', path]);
  await expect(acquireLock(path, { timeoutMs: 0 })).rejects.toMatchObject({ code: 'invalid-argument' });
  await expect(acquireLock(join(folder, 'no', 'lock'), { timeoutMs: 0 })).rejects.toMatchObject({ code: 'not-found' });
});
