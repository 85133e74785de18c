import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, type TestContext, vi } from 'vitest';
import { nativeLibc } from '../native/index.ts';
import { lockDiskImage } from './disk-image-lock.ts';

let folder: string;
let path: string;
const open: number[] = [];
const children: ChildProcess[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hv-image-lock-'));
  path = join(folder, 'a disk.img');
  writeFileSync(path, Buffer.alloc(2 ** 20));
});

afterEach(async () => {
  for (const fd of open.splice(0)) closeSync(fd);
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  rmSync(folder, { recursive: true });
  vi.unstubAllEnvs();
  vi.resetModules();
});

function openImage(): number {
  const fd = openSync(path, 'r+');
  open.push(fd);
  return fd;
}

/** An image with a format: only then does QEMU deny others to write while it reads. */
function needsQemu(context: TestContext): void {
  if (!nativeLibc()) context.skip('QEMU locks need FFI, which is absent or turned off');
  const made = spawnSync('qemu-img', ['create', '-q', '-f', 'vhdx', path, '16M']);
  if (made.error) context.skip('qemu-img is not installed (qemu-utils)');
  expect(made.status).toBe(0);
}

function qemuImgInfo(...options: string[]): { status: number | null; stderr: string } {
  return spawnSync('qemu-img', ['info', ...options, path], { encoding: 'utf8' });
}

/** A QEMU tool that keeps the image open until it is killed. */
async function qemuIo(...options: string[]): Promise<ChildProcess> {
  const child = spawn('qemu-io', [...options, '-f', 'vhdx', path], { stdio: ['pipe', 'pipe', 'inherit'] });
  children.push(child);
  child.stdin.write('length\n');
  await once(child.stdout, 'data');
  return child;
}

describe('with QEMU', () => {
  it('keeps qemu-img away while we write, and lets it back in', (context) => {
    needsQemu(context);
    const lock = lockDiskImage(openImage(), 'write', path);
    const refused = qemuImgInfo();
    expect(refused.status).toBe(1);
    expect(refused.stderr).toContain('lock');
    expect(qemuImgInfo('-U').status).toBe(0);
    lock.release();
    expect(qemuImgInfo().status).toBe(0);
  });

  it('reads together with qemu-img but not with a QEMU that writes', async (context) => {
    needsQemu(context);
    const lock = lockDiskImage(openImage(), 'read', path);
    expect(qemuImgInfo().status).toBe(0);
    const writer = spawnSync('qemu-io', ['-f', 'vhdx', '-c', 'write 0 512', path], { encoding: 'utf8' });
    expect(writer.stderr).toContain('lock');
    expect(writer.status).toBe(1);
    lock.release();
  });

  it('is refused while a QEMU writes, names it, and leaves nothing locked behind', async (context) => {
    needsQemu(context);
    const writer = await qemuIo();
    for (const access of ['read', 'write'] as const) {
      expect(() => lockDiskImage(openImage(), access, path)).toThrowError(
        expect.objectContaining({ code: 'in-use', detail: { path, pid: writer.pid, command: 'qemu-io' } }),
      );
    }
    writer.kill('SIGKILL');
    await once(writer, 'exit');
    lockDiskImage(openImage(), 'write', path).release();
  });

  it('reads beside a QEMU that reads, but does not write beside it', async (context) => {
    needsQemu(context);
    const reader = await qemuIo('-r');
    lockDiskImage(openImage(), 'read', path).release();
    expect(() => lockDiskImage(openImage(), 'write', path)).toThrowError(
      expect.objectContaining({ code: 'in-use', detail: expect.objectContaining({ pid: reader.pid }) }),
    );
  });
});

describe('between hv processes', () => {
  it.each([
    { way: 'both with FFI', first: '', second: '' },
    { way: 'one without FFI', first: '', second: '1' },
    { way: 'the other without FFI', first: '1', second: '' },
    { way: 'both without FFI', first: '1', second: '1' },
  ])('lets readers share and keeps a writer alone: $way', async ({ first, second }) => {
    vi.resetModules();
    vi.stubEnv('HV_NO_FFI', first);
    const mine = await import('./disk-image-lock.ts');
    const reader = mine.lockDiskImage(openImage(), 'read', path);
    vi.resetModules();
    vi.stubEnv('HV_NO_FFI', second);
    const theirs = await import('./disk-image-lock.ts');
    const secondReader = theirs.lockDiskImage(openImage(), 'read', path);
    const refused = expect.objectContaining({ code: 'in-use', message: expect.stringContaining(path) });
    expect(() => theirs.lockDiskImage(openImage(), 'write', path)).toThrowError(refused);
    reader.release();
    await secondReader[Symbol.asyncDispose]();
    const writer = theirs.lockDiskImage(openImage(), 'write', path);
    expect(() => mine.lockDiskImage(openImage(), 'read', path)).toThrowError(refused);
    writer.release();
    writer.release();
    mine.lockDiskImage(openImage(), 'write', path).release();
  });

  it('ends with the last close of the descriptor', () => {
    const fd = openSync(path, 'r+');
    lockDiskImage(fd, 'write', path);
    closeSync(fd);
    lockDiskImage(openImage(), 'write', path).release();
  });
});
