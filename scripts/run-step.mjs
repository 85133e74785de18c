// Runs one program of the project's own set-up and checks: arguments as a list, no shell.
import { spawn } from 'node:child_process';

/**
 * @param {string} program
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: Record<string, string | undefined>, show?: boolean }} [options] `show` passes the output
 *   through as it comes; otherwise it is collected
 * @returns {Promise<{ status: number, output: string }>} status 127 when the program does not exist
 */
export function runStep(program, args, { cwd, env = {}, show = false } = {}) {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: show ? ['ignore', 'inherit', 'inherit'] : ['ignore', 'pipe', 'pipe'],
    });
    const chunks = [];
    child.stdout?.on('data', (chunk) => chunks.push(chunk));
    child.stderr?.on('data', (chunk) => chunks.push(chunk));
    child.on('error', (error) => resolve({ status: 127, output: String(error.message) }));
    child.on('close', (code) => resolve({ status: code ?? 1, output: Buffer.concat(chunks).toString('utf8') }));
  });
}

/** The end of a long output: where the reason stands. */
export function tailOf(output, lines = 30) {
  return output.trimEnd().split('\n').slice(-lines).join('\n');
}

/** "3.2 s" */
export function secondsSince(startedMs) {
  return `${((performance.now() - startedMs) / 1000).toFixed(1)} s`;
}
