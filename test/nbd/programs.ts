import { execFileSync } from 'node:child_process';

/** Whether a program of other people can be started here. */
export function has(program: string): boolean {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
