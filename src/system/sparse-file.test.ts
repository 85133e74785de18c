import { closeSync, fstatSync, ftruncateSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

const MIB = 2 ** 20;

let folder: string;
let fd: number;
let other: number;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hv-sparse-'));
  fd = openSync(join(folder, 'a'), 'w+');
  other = openSync(join(folder, 'b'), 'w+');
});

afterEach(() => {
  closeSync(fd);
  closeSync(other);
  rmSync(folder, { recursive: true });
  vi.unstubAllEnvs();
  vi.resetModules();
});

/** The module as it is with FFI or, as on a host without koffi, without. */
async function sparseFile(ffi: boolean): Promise<typeof import('./sparse-file.ts')> {
  vi.resetModules();
  vi.stubEnv('HV_NO_FFI', ffi ? '' : '1');
  return import('./sparse-file.ts');
}

function fill(target: number, offset: number, length: number, value: number): void {
  writeSync(target, Buffer.alloc(length, value), 0, length, offset);
}

function contents(target: number, offset: number, length: number): Buffer {
  const buffer = Buffer.alloc(length);
  readSync(target, buffer, 0, length, offset);
  return buffer;
}

describe('with FFI', () => {
  it('punches a hole that reads as zero and gives the space back', async () => {
    const { punchHole } = await sparseFile(true);
    fill(fd, 0, 4 * MIB, 7);
    const before = fstatSync(fd).blocks;
    expect(punchHole(fd, MIB, 2 * MIB)).toBe(true);
    expect(contents(fd, MIB, 2 * MIB).every((byte) => byte === 0)).toBe(true);
    expect(contents(fd, 0, MIB).every((byte) => byte === 7)).toBe(true);
    expect(fstatSync(fd).size).toBe(4 * MIB);
    expect(fstatSync(fd).blocks).toBeLessThanOrEqual(before - (2 * MIB) / 512);
  });

  it('reserves space without changing contents or length', async () => {
    const { preallocate } = await sparseFile(true);
    fill(fd, 0, 4096, 9);
    expect(preallocate(fd, 0, 8 * MIB)).toBe(true);
    expect(fstatSync(fd).size).toBe(4096);
    expect(fstatSync(fd).blocks * 512).toBeGreaterThanOrEqual(8 * MIB);
    expect(contents(fd, 0, 4096).every((byte) => byte === 9)).toBe(true);
  });

  it('says no-space when the range cannot be reserved, and takes nothing', async () => {
    const { preallocate } = await sparseFile(true);
    expect(() => preallocate(fd, 0, 2 ** 43)).toThrowError(expect.objectContaining({ code: 'no-space' }));
    expect(fstatSync(fd).blocks).toBe(0);
  });

  it('walks data and holes', async () => {
    const { nextData, nextHole } = await sparseFile(true);
    ftruncateSync(fd, 64 * MIB);
    fill(fd, 8 * MIB, MIB, 1);
    fill(fd, 2 ** 33, MIB, 1);
    expect(nextData(fd, 0)).toBe(8 * MIB);
    expect(nextHole(fd, 8 * MIB)).toBe(9 * MIB);
    expect(nextData(fd, 9 * MIB)).toBe(2 ** 33);
    expect(nextHole(fd, 2 ** 33)).toBe(2 ** 33 + MIB);
    expect(nextData(fd, 2 ** 33 + MIB)).toBeUndefined();
    expect(nextHole(fd, 2 ** 33 + MIB)).toBe(2 ** 33 + MIB);
  });

  it('copies inside the kernel beyond 4 GiB and stops at the end of the source', async () => {
    const { copyFileRange } = await sparseFile(true);
    const high = 2 ** 32 + 4096;
    fill(fd, high, 3 * MIB, 5);
    expect(copyFileRange(fd, high, other, 4096, 10 * MIB)).toBe(3 * MIB);
    expect(contents(other, 4096, 3 * MIB).every((byte) => byte === 5)).toBe(true);
    expect(contents(other, 0, 4096).every((byte) => byte === 0)).toBe(true);
    expect(copyFileRange(fd, high + 3 * MIB, other, 0, 4096)).toBe(0);
  });

  it('reads what is in memory into the middle of a buffer, and refuses a range outside of it', async () => {
    const { preadNowait, canReadNowait } = await sparseFile(true);
    fill(fd, 2 ** 33, 8192, 3);
    const buffer = Buffer.alloc(64 * 1024).subarray(4096); // a view that does not begin at its backing store's start
    if (!canReadNowait(fd)) {
      expect(preadNowait(fd, buffer, 100, 8192, 2 ** 33)).toBe(-1);
      return;
    }
    expect(preadNowait(fd, buffer, 100, 8192, 2 ** 33)).toBe(8192);
    expect(buffer.subarray(100, 8292).every((byte) => byte === 3)).toBe(true);
    expect(buffer[99]).toBe(0);
    expect(buffer[8292]).toBe(0);
    expect(preadNowait(fd, buffer, 0, 4096, 2 ** 34)).toBe(0);
    expect(preadNowait(fd, Buffer.alloc(10), 5, 6, 0)).toBe(-1);
  });

  it('keeps number, symbol and function of a failure', async () => {
    const { nextData } = await sparseFile(true);
    expect(() => nextData(9999, 0)).toThrowError(
      expect.objectContaining({ code: 'io', detail: expect.objectContaining({ errno: 'EBADF', function: 'lseek' }) }),
    );
  });
});

describe('without FFI', () => {
  it('treats everything as data and does nothing', async () => {
    const sparse = await sparseFile(false);
    fill(fd, MIB, MIB, 1);
    expect(sparse.punchHole(fd, MIB, MIB)).toBe(false);
    expect(sparse.preallocate(fd, 0, MIB)).toBe(false);
    expect(contents(fd, MIB, MIB).every((byte) => byte === 1)).toBe(true);
    expect(sparse.nextData(fd, 4096)).toBe(4096);
    expect(sparse.nextData(fd, 2 * MIB)).toBeUndefined();
    expect(sparse.nextHole(fd, 4096)).toBe(2 * MIB);
    expect(sparse.copyFileRange(fd, MIB, other, 0, MIB)).toBe(0);
    expect(sparse.preadNowait(fd, Buffer.alloc(4096), 0, 4096, MIB)).toBe(-1);
    expect(sparse.canReadNowait(fd)).toBe(false);
  });
});
