import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { openChain } from '../../src/disk/index.ts';
import { nextData } from '../../src/system/index.ts';

const CHUNK_BYTES = 4 * 1024 * 1024;

/** A folder that goes with the test. */
export class TemporaryFolder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'hv-vhd-'));

  file(name: string): string {
    return join(this.path, name);
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** What qemu-img says of a VHD, its format named. */
export function qemuInfo(path: string): { readonly 'virtual-size': number; readonly 'cluster-size'?: number } {
  return JSON.parse(
    execFileSync('qemu-img', ['info', '--output=json', '-f', 'vpc', path], { stdio: 'pipe' }).toString(),
  );
}

/** Has qemu-img write what it reads from a VHD into a raw file. */
export function qemuToRaw(path: string, target: string): void {
  execFileSync('qemu-img', ['convert', '-f', 'vpc', '-O', 'raw', path, target], { stdio: 'pipe' });
}

/** Compares where either holds data; holes on both sides are zeros by agreement of both. */
export function expectSame(disk: ReturnType<typeof openChain>, rawPath: string): void {
  const fd = openSync(rawPath, 'r');
  const ours = Buffer.alloc(CHUNK_BYTES);
  const theirs = Buffer.alloc(CHUNK_BYTES);
  try {
    for (let at = 0; at < disk.sizeBytes; at += CHUNK_BYTES) {
      const length = Math.min(CHUNK_BYTES, disk.sizeBytes - at);
      const isHole = (nextData(fd, at) ?? disk.sizeBytes) >= at + length;
      if (isHole && [...disk.extents(at, length)].every(({ kind }) => kind !== 'data')) continue;
      disk.read(at, ours, 0, length);
      theirs.fill(0);
      readSync(fd, theirs, 0, length, at);
      if (!ours.subarray(0, length).equals(theirs.subarray(0, length)))
        throw new Error(`they differ in the 4 MiB at ${at}`);
    }
  } finally {
    closeSync(fd);
  }
}
