import { execFileSync } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

/** Whether a program is installed. */
export function hasProgram(name: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false; // The next folder may have it.
    }
  });
}

/** qemu-img's verdict on a file: throws with its words when it finds anything wrong. */
export function qemuCheck(path: string, format = 'vhdx'): void {
  const answer = JSON.parse(
    execFileSync('qemu-img', ['check', '--output=json', '-f', format, path], { stdio: 'pipe' }).toString(),
  );
  const errors = Number(answer['check-errors']) + Number(answer.corruptions ?? 0) + Number(answer.leaks ?? 0);
  if (errors > 0) throw new Error(`qemu-img check: ${JSON.stringify(answer)}`);
}

/** What vhdiinfo reads from a file; throws when it cannot. */
export function vhdiInfo(path: string): string {
  return execFileSync('vhdiinfo', [path], { stdio: 'pipe' }).toString();
}

/** A folder that goes with the test. */
export class TemporaryFolder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'hv-vhdx-'));

  file(name: string): string {
    return join(this.path, name);
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
