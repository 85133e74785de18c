import { type ExecFileSyncOptions, execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;

const PATH = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`;

/** Runs a program of this system; throws with its words when it is not content. */
export function tool(program: string, args: readonly string[], options: ExecFileSyncOptions = {}): string {
  const env = { ...process.env, PATH, LC_ALL: 'C', MTOOLS_SKIP_CHECK: '1' };
  return execFileSync(program, args, {
    stdio: 'pipe',
    env,
    timeout: 60_000,
    maxBuffer: 64 * MIB,
    ...options,
  }).toString();
}

/** The same for programs whose answer is bytes. */
export function toolBytes(program: string, args: readonly string[]): Buffer {
  return execFileSync(program, args, { stdio: 'pipe', env: { ...process.env, PATH }, maxBuffer: 256 * MIB });
}

/** Makes a file of so many bytes that holds nothing. */
export function sparseFile(path: string, sizeBytes: number): void {
  const fd = openSync(path, 'w');
  ftruncateSync(fd, sizeBytes);
  closeSync(fd);
}

/** A folder that goes with the test. */
export class TemporaryFolder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'hv-volumes-'));

  file(name: string): string {
    return join(this.path, name);
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
