import { spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { sleep } from '../../../async/index.ts';
import { HvError } from '../../../errors/index.ts';
import { isAlive, minimalEnvironment, type ProcessIdentity, readProcess, waitForExit } from '../../../system/index.ts';

export interface QemuExit {
  /** Unknown for a process that an earlier worker started. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** QEMU's own output, in the working folder. */
export const QEMU_LOG = 'qemu.log';
const LOG_TAIL_BYTES = 2000;

/** One QEMU: started by this worker, or taken over from an earlier one that died. */
export class QemuProcess {
  readonly identity: ProcessIdentity;
  /** Resolves once it is gone. */
  readonly exited: Promise<QemuExit>;
  #exit: QemuExit | undefined;

  private constructor(identity: ProcessIdentity, exited: Promise<QemuExit>) {
    this.identity = identity;
    this.exited = exited.then((exit) => {
      this.#exit = exit;
      return exit;
    });
  }

  get exit(): QemuExit | undefined {
    return this.#exit;
  }

  /** Starts it in a session of its own, so that it outlives this worker. @throws HvError `process-failed` */
  static async spawn(program: string, args: readonly string[]): Promise<QemuProcess> {
    const log = openSync(QEMU_LOG, 'a', 0o600);
    const before = process.umask(0o077); // its sockets and logs are for its own user
    try {
      const child = spawn(program, args, {
        detached: true,
        stdio: ['ignore', log, log],
        env: minimalEnvironment(),
      });
      const exited = new Promise<QemuExit>((resolve, reject) => {
        child.once('exit', (code, signal) => resolve({ code, signal }));
        child.once('error', reject);
      });
      exited.catch(() => {});
      const { pid } = child;
      const info = pid === undefined ? undefined : readProcess(pid);
      if (!info) {
        const cause = await exited.catch((error: unknown) => error);
        throw new HvError('process-failed', `could not start ${program}`, { detail: { program }, cause });
      }
      return new QemuProcess({ pid: info.pid, startTicks: info.startTicks }, exited);
    } finally {
      process.umask(before);
      closeSync(log);
    }
  }

  /** Takes over a QEMU that an earlier worker left running. */
  static adopt(identity: ProcessIdentity): QemuProcess {
    return new QemuProcess(
      identity,
      waitForExit(identity).then(() => ({ code: null, signal: null })),
    );
  }

  get isAlive(): boolean {
    return this.#exit === undefined && isAlive(this.identity);
  }

  /** Ends it at once and waits until it is gone. */
  async kill(): Promise<void> {
    if (this.isAlive) {
      try {
        process.kill(this.identity.pid, 'SIGKILL');
      } catch {
        // Gone between the look and the signal.
      }
    }
    await Promise.race([this.exited, sleep(KILL_WAIT_MS)]);
  }

  /** How it ended, in words. */
  describeExit(): string {
    const exit = this.#exit;
    if (exit?.signal) return `QEMU was ended by ${exit.signal}`;
    if (exit && exit.code !== null) return `QEMU ended with status ${exit.code}`;
    return 'QEMU ended unexpectedly';
  }
}

/**
 * Ends QEMUs of this machine that nobody knows of: a worker that is killed between starting one and writing it down leaves
 * it waiting for ever. To be called when the machine is off and about to be started.
 */
export async function endStrays(vmId: string): Promise<void> {
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isSafeInteger(pid) || !isQemuOf(pid, vmId)) continue;
    const process = readProcess(pid);
    if (process) await QemuProcess.adopt({ pid, startTicks: process.startTicks }).kill();
  }
}

function isQemuOf(pid: number, vmId: string): boolean {
  try {
    const args = readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0');
    return basename(args[0] ?? '').startsWith('qemu-system-') && args[args.indexOf('-uuid') + 1] === vmId;
  } catch {
    return false; // gone since
  }
}

const KILL_WAIT_MS = 5000;

/** The end of what QEMU printed since `since` bytes. */
export function qemuLogTail(since = 0): string {
  let fd: number;
  try {
    fd = openSync(QEMU_LOG, 'r');
  } catch {
    return '';
  }
  try {
    const { size } = statSync(QEMU_LOG);
    const start = Math.max(since, size - LOG_TAIL_BYTES);
    const buffer = Buffer.alloc(Math.max(0, size - start));
    const count = readSync(fd, buffer, 0, buffer.length, start);
    return buffer.toString('utf8', 0, count).trim();
  } finally {
    closeSync(fd);
  }
}

export function qemuLogSize(): number {
  return statSync(QEMU_LOG, { throwIfNoEntry: false })?.size ?? 0;
}
