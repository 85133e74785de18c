/** What the benchmarks share: medians, processes, waiting. */
import { execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';

export const run = promisify(execFile);

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Whether a program can be started. */
export async function has(program, ...args) {
  try {
    await run(program, args);
    return true;
  } catch {
    return false;
  }
}

/** A child process that is killed at the end of the scope. */
export class Child {
  constructor(program, args) {
    this.process = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.ended = new Promise((resolve) => this.process.on('exit', resolve));
    this.output = '';
    this.process.stdout.on('data', (chunk) => {
      this.output += chunk;
    });
    process.on('exit', () => this.process.kill('SIGKILL'));
  }

  /** User and system time so far, in seconds. */
  cpuSeconds() {
    const stat = readFileSync(`/proc/${this.process.pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  async stop(signal = 'SIGTERM') {
    this.process.kill(signal);
    await this.ended;
  }
}

/** Asks until the answer is true. */
export async function until(isTrue, what, timeoutMs = 20_000) {
  const endsAt = Date.now() + timeoutMs;
  while (!(await isTrue())) {
    if (Date.now() > endsAt) throw new Error(`timed out waiting for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
