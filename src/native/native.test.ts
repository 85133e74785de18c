import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  ERRNO,
  errnoSymbol,
  F_RDLCK,
  F_UNLCK,
  F_WRLCK,
  type Libc,
  LOCK_EX,
  LOCK_NB,
  nativeError,
  nativeLibc,
  SEEK_DATA,
} from './index.ts';

let folder: string;
let fd: number;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hv-native-'));
  fd = openSync(join(folder, 'f'), 'w+');
});

afterEach(() => {
  closeSync(fd);
  rmSync(folder, { recursive: true });
  vi.unstubAllEnvs();
  vi.resetModules();
});

function reopened(): number {
  return openSync(join(folder, 'f'), 'r+');
}

describe('errno', () => {
  it('knows this system’s symbols both ways', () => {
    expect(errnoSymbol(constants.errno.ENOSPC)).toBe('ENOSPC');
    expect(errnoSymbol(constants.errno.EAGAIN)).toBe('EAGAIN');
    expect(errnoSymbol(constants.errno.EOPNOTSUPP)).toBe('EOPNOTSUPP');
    expect(errnoSymbol(99_999)).toBe('E99999');
  });

  it('makes an error that keeps number, symbol and function', () => {
    expect(nativeError('fallocate', ERRNO.ENOSPC, 'could not reserve space', { offset: 5 })).toMatchObject({
      code: 'no-space',
      detail: { offset: 5, errno: 'ENOSPC', errnoNumber: ERRNO.ENOSPC, function: 'fallocate' },
    });
  });
});

describe('without FFI', () => {
  it('answers undefined and loads nothing', async () => {
    vi.resetModules();
    vi.stubEnv('HV_NO_FFI', '1');
    const native = await import('./index.ts');
    expect(native.nativeLibc()).toBeUndefined();
  });
});

const found = nativeLibc();

describe.skipIf(!found)(`the C library${found ? '' : ' (skipped: no FFI here, or it is turned off)'}`, () => {
  const libc = found as Libc; // the suite is skipped otherwise

  it('answers minus the errno when a call fails', () => {
    expect(libc.lseek(-1, 0, SEEK_DATA)).toBe(-ERRNO.EBADF);
    expect(libc.lseek(fd, 0, SEEK_DATA)).toBe(-ERRNO.ENXIO);
    expect(libc.flock(-1, LOCK_EX)).toBe(-ERRNO.EBADF);
    expect(libc.close(-1)).toBe(-ERRNO.EBADF);
    expect(libc.pidfdOpen(2 ** 22 - 1)).toBe(-ERRNO.ESRCH);
    expect(libc.peerCredentials(fd)).toBe(-ERRNO.ENOTSOCK);
  });

  it('takes offsets beyond 4 GiB', () => {
    writeSync(fd, Buffer.from('x'), 0, 1, 2 ** 40);
    expect(libc.lseek(fd, 2 ** 33, SEEK_DATA)).toBeGreaterThan(2 ** 40 - 2 ** 20);
    const target = Buffer.alloc(2);
    expect(libc.preadv2(fd, target, 1, 1, 2 ** 40, 0)).toBe(1);
    expect(target.toString('latin1')).toBe('\0x');
  });

  it('reads into small arrays that V8 may keep on its own heap', () => {
    writeSync(fd, Buffer.from([1, 2, 3, 4]), 0, 4, 0);
    for (let round = 0; round < 1000; round++) {
      const small = new Uint8Array(4);
      expect(libc.preadv2(fd, small, 0, 4, 0, 0)).toBe(4);
      expect([...small]).toEqual([1, 2, 3, 4]);
    }
  });

  it('never writes outside of the buffer', () => {
    writeSync(fd, Buffer.alloc(100), 0, 100, 0);
    const target = new Uint8Array(10);
    for (const [start, length] of [[5, 6], [-1, 2], [0, 11], [11, 0], [0, -1]] as const) // biome-ignore format: a table
      expect(libc.preadv2(fd, target, start, length, 0, 0)).toBe(-ERRNO.EFAULT);
    const gone = new Uint8Array(10);
    structuredClone(gone.buffer, { transfer: [gone.buffer] });
    expect(libc.preadv2(fd, gone, 0, 10, 0, 0)).toBe(-ERRNO.EFAULT);
  });

  it('locks whole files and ranges between open files', () => {
    const other = reopened();
    expect(libc.flock(fd, LOCK_EX | LOCK_NB)).toBe(0);
    expect(libc.flock(other, LOCK_EX | LOCK_NB)).toBe(-ERRNO.EAGAIN);
    const start = 2 ** 40;
    expect(libc.setRangeLock(fd, F_RDLCK, start, 1)).toBe(0);
    expect(libc.testRangeLock(other, F_WRLCK, start, 1)).toBe(F_RDLCK);
    expect(libc.testRangeLock(other, F_RDLCK, start, 1)).toBe(F_UNLCK);
    expect(libc.testRangeLock(other, F_WRLCK, start + 1, 1)).toBe(F_UNLCK);
    expect(libc.setRangeLock(other, F_WRLCK, start, 1)).toBe(-ERRNO.EAGAIN);
    closeSync(other);
  });

  it('sends and receives on a socket without waiting, and waits for what is readable', () => {
    const pair = libc.socketPair();
    if (typeof pair === 'number') throw new Error('no socket pair');
    const [left, right] = pair;
    try {
      const target = Buffer.alloc(8);
      const ready: boolean[] = [];
      expect(libc.receive(right, target, 0, 8)).toBe(-ERRNO.EAGAIN);
      expect(libc.awaitReadable([right, left], ready, 1)).toBe(0);
      expect(libc.send(left, Buffer.from('..abc'), 2, 3)).toBe(3);
      expect(libc.awaitReadable([-1, left, right], ready, 1000)).toBe(1);
      expect(ready.slice(0, 3)).toEqual([false, false, true]);
      expect(libc.receive(right, target, 4, 4)).toBe(3);
      expect(target.toString('latin1', 4, 7)).toBe('abc');
      expect(libc.receive(right, target, 4, 5)).toBe(-ERRNO.EFAULT);
      expect(libc.send(left, target, -1, 2)).toBe(-ERRNO.EFAULT);
      expect(libc.setSendBuffer(left, 256 * 1024)).toBe(0);
      const big = Buffer.alloc(4 * 1024 * 1024);
      expect(libc.send(left, big, 0, big.length)).toBeLessThan(big.length);
      expect(libc.send(left, big, 0, big.length)).toBe(-ERRNO.EAGAIN);
    } finally {
      libc.close(right);
      expect(libc.send(left, Buffer.from('x'), 0, 1)).toBe(-ERRNO.EPIPE);
      libc.close(left);
    }
  });

  it('waits in the pool until a process has ended, or the time is up', async () => {
    const child = spawn('sleep', ['30'], { stdio: 'ignore' });
    await once(child, 'spawn');
    const pidfd = libc.pidfdOpen(child.pid ?? 0);
    const idle = libc.eventfd();
    expect(await libc.pollReadable([idle, pidfd], 30)).toEqual([]);
    const waiting = libc.pollReadable([idle, pidfd], 10_000);
    child.kill('SIGKILL');
    expect(await waiting).toEqual([pidfd]);
    libc.close(pidfd);
    libc.close(idle);
  });
});

it('works on several threads at once', async (context) => {
  if (!found) context.skip('no FFI here, or it is turned off');
  const room = JSON.stringify(new URL('../../dist/native/index.js', import.meta.url).href);
  const code = `import(${room}).then(({ nativeLibc }) => {
    const { parentPort } = require('node:worker_threads');
    let worst = 0;
    for (let i = 0; i < 20000; i++) worst = Math.min(worst, nativeLibc().lseek(-1, i, 3));
    parentPort.postMessage(worst);
  });`;
  const workers = [1, 2, 3].map(() => new Worker(code, { eval: true }));
  const answers = await Promise.all(workers.map((worker) => once(worker, 'message')));
  await Promise.all(workers.map((worker) => worker.terminate()));
  expect(answers.flat()).toEqual([-ERRNO.EBADF, -ERRNO.EBADF, -ERRNO.EBADF]);
});
