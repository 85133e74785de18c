import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findProgram, requireProgram } from './find-program.ts';
import { isAlive, readProcess } from './process-identity.ts';
import { runProgram } from './run-program.ts';

const deadlineMs = 10_000;
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hv-run-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A program that starts a child of its own and writes that child's number to a file. */
async function spawnsChild(pidFile: string, signal?: AbortSignal, deadline = deadlineMs): Promise<unknown> {
  const script = 'sleep 60 & echo $! > "$0"; wait';
  return runProgram('sh', ['-c', script, pidFile], { deadlineMs: deadline, ...(signal ? { signal } : {}) });
}

async function writtenPid(pidFile: string): Promise<number> {
  for (;;) {
    const text = statSync(pidFile, { throwIfNoEntry: false }) ? readFileSync(pidFile, 'utf8') : '';
    if (text.endsWith('\n')) return Number(text);
    await delay(5);
  }
}

async function isGone(pid: number): Promise<boolean> {
  for (let round = 0; round < 200; round++) {
    const info = readProcess(pid);
    if (!info || !isAlive(info)) return true;
    await delay(5);
  }
  return false;
}

describe('runProgram', () => {
  it('gives back output, errors and exit code', async () => {
    const result = await runProgram('sh', ['-c', 'cat; echo two >&2; exit 3'], {
      deadlineMs,
      input: 'one',
      okExitCodes: [0, 3],
    });
    expect(result.stdout.toString()).toBe('one');
    expect(result.stderr).toBe('two\n');
    expect(result.exitCode).toBe(3);
  });

  it('passes arguments as they are, through no shell', async () => {
    const args = ['$(id)', '`id`', '; id', 'a \'b\' "c"', '*', '\n', 'ü 漢'];
    const { stdout } = await runProgram('printf', ['%s|', ...args], { deadlineMs });
    expect(stdout.toString()).toBe(args.map((arg) => `${arg}|`).join(''));
  });

  it('gives a small environment of its own', async () => {
    process.env.HV_TEST_SECRET = 'secret';
    const { stdout } = await runProgram('env', [], { deadlineMs, env: { EXTRA: 'x=y', LANG: undefined } });
    delete process.env.HV_TEST_SECRET;
    const names = stdout.toString().trim().split('\n');
    expect(names).toContain('EXTRA=x=y');
    expect(names.map((line) => line.split('=')[0]).sort()).toEqual(['EXTRA', 'HOME', 'LC_ALL', 'PATH']);
  });

  it('names the package of a program that is missing', async () => {
    await expect(runProgram('hv-no-such-program', [], { deadlineMs })).rejects.toMatchObject({
      code: 'missing-dependency',
    });
    await expect(requireProgram('./sh')).rejects.toMatchObject({ code: 'missing-dependency' });
  });

  it('reports a failure with exit code and the end of standard error, without its control characters', async () => {
    const script =
      'i=0; while [ $i -lt 3000 ]; do echo "line $i" >&2; i=$((i+1)); done; printf "\\033[2Jbad" >&2; exit 7';
    await expect(runProgram('sh', ['-c', script], { deadlineMs })).rejects.toMatchObject({
      code: 'process-failed',
      message: 'sh failed with exit code 7: ?[2Jbad',
      detail: { program: 'sh', exitCode: 7, stderrTail: expect.stringMatching(/line 2999\n\?\[2Jbad$/) },
    });
  });

  it('reports a program that a signal ended', async () => {
    await expect(runProgram('sh', ['-c', 'kill -9 $$'], { deadlineMs })).rejects.toMatchObject({
      code: 'process-failed',
      detail: { exitCode: null, signal: 'SIGKILL' },
    });
  });

  it('kills what writes without end', async () => {
    await expect(runProgram('yes', [], { deadlineMs, maxOutputBytes: 100_000 })).rejects.toMatchObject({
      code: 'process-failed',
      detail: { maxOutputBytes: 100_000 },
    });
  });

  it('keeps only the end of a flood on standard error', async () => {
    const { stderr } = await runProgram('sh', ['-c', 'yes | head -c 3000000 >&2; echo end >&2'], { deadlineMs });
    expect(stderr.length).toBe(64 * 1024);
    expect(stderr.endsWith('end\n')).toBe(true);
  });

  it('kills the whole group at the deadline', async () => {
    const pidFile = join(folder, 'pid');
    const run = spawnsChild(pidFile, undefined, 300);
    await expect(run).rejects.toMatchObject({ code: 'timeout', detail: { timeoutMs: 300 } });
    expect(await isGone(await writtenPid(pidFile))).toBe(true);
  });

  it('kills the whole group on abort', async () => {
    const pidFile = join(folder, 'pid');
    const controller = new AbortController();
    const run = spawnsChild(pidFile, controller.signal);
    const grandchild = await writtenPid(pidFile);
    controller.abort();
    await expect(run).rejects.toMatchObject({ code: 'aborted' });
    expect(await isGone(grandchild)).toBe(true);
    await expect(spawnsChild(pidFile, AbortSignal.abort())).rejects.toMatchObject({ code: 'aborted' });
  });

  it('does not wait for ever for a child that holds the pipe after the program has ended', async () => {
    const result = await runProgram('sh', ['-c', 'sleep 60 & echo $!'], { deadlineMs });
    expect(await isGone(Number(result.stdout.toString()))).toBe(true);
  });

  it('survives a program that does not read its input', async () => {
    const input = Buffer.alloc(4 * 2 ** 20);
    expect((await runProgram('true', [], { deadlineMs, input })).exitCode).toBe(0);
  });

  it('sets limits', async (context) => {
    if ((await findProgram('prlimit')) === undefined) context.skip('prlimit is not installed (util-linux)');
    const { stdout } = await runProgram('sh', ['-c', 'ulimit -v; ulimit -t; ulimit -f; ulimit -c'], {
      deadlineMs,
      limits: { addressSpaceBytes: 2 ** 30, cpuSeconds: 7, fileSizeBytes: 2 ** 20 },
    });
    expect(stdout.toString()).toBe(`${2 ** 20}\n7\n2048\n0\n`);
    const file = join(folder, 'big');
    await expect(
      runProgram('dd', ['if=/dev/zero', `of=${file}`, 'bs=65536', 'count=64'], {
        deadlineMs,
        limits: { fileSizeBytes: 2 ** 20 },
      }),
    ).rejects.toMatchObject({ code: 'process-failed' });
    expect(statSync(file).size).toBe(2 ** 20);
  });

  it('runs as another user without groups', async (context) => {
    if (process.getuid?.() !== 0) context.skip('only root may run programs as somebody else');
    const { stdout } = await runProgram('sh', ['-c', 'id -u; id -g; id -G; echo $HOME'], {
      deadlineMs,
      user: { uid: 65534, gid: 65534 },
    });
    expect(stdout.toString()).toBe('65534\n65534\n65534\n/nonexistent\n');
  });
});

describe('findProgram', () => {
  it('finds programs of the sbin folders and refuses relative paths and folders', async () => {
    expect(await findProgram('sh')).toMatch(/^\/.*\/sh$/);
    expect(await findProgram('/bin/sh')).toBe('/bin/sh');
    expect(await findProgram('/bin')).toBeUndefined();
    expect(await findProgram('bin/sh')).toBeUndefined();
    expect(await findProgram('')).toBeUndefined();
    expect(await findProgram('sh\0')).toBeUndefined();
  });

  it('knows the package of what it does not find', async () => {
    await expect(requireProgram('/nonexistent/qemu-img')).rejects.toMatchObject({
      code: 'missing-dependency',
      detail: { package: 'qemu-utils' },
      hint: expect.stringContaining('apt-get install --no-install-recommends qemu-utils'),
    });
  });
});
