import { readFileSync } from 'node:fs';
import { isSystemError } from '../errors/index.ts';

/**
 * A process that cannot be mistaken for a later one with the same number: its start time in clock ticks since boot
 * tells them apart (proc(5), /proc/<pid>/stat field 22). Across restarts of the host compare bootId() as well.
 */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTicks: number;
}

export interface ProcessInfo extends ProcessIdentity {
  /** The program's name as the kernel keeps it: at most 15 bytes. */
  readonly command: string;
  /** R, S, D, T, Z and so on; Z is a process that has ended and waits for its parent. */
  readonly state: string;
  readonly parentPid: number;
}

/** What /proc says about a process now; undefined when there is none (a zombie is still one). */
export function readProcess(pid: number): ProcessInfo | undefined {
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ESRCH')) return undefined;
    throw error;
  }
  // The name stands in brackets and may itself hold brackets and spaces: the last one ends it.
  const nameEnd = text.lastIndexOf(')');
  const fields = text.slice(nameEnd + 2).split(' '); // fields[0] is field 3
  return {
    pid,
    command: text.slice(text.indexOf('(') + 1, nameEnd),
    state: fields[0] ?? '',
    parentPid: Number(fields[1]),
    startTicks: Number(fields[19]),
  };
}

/** This very process. */
export function ownIdentity(): ProcessIdentity {
  const info = readProcess(process.pid);
  return { pid: process.pid, startTicks: info?.startTicks ?? 0 };
}

/** Whether the same process still runs; one that has ended but was not yet reaped does not. */
export function isAlive(identity: ProcessIdentity): boolean {
  const info = readProcess(identity.pid);
  return info !== undefined && info.startTicks === identity.startTicks && info.state !== 'Z' && info.state !== 'X';
}

/** The user that a process runs as (its effective one); undefined when there is no such process. */
export function processOwner(pid: number): number | undefined {
  try {
    const owner = /^Uid:\s+\d+\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
    return owner === undefined ? undefined : Number(owner);
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ESRCH')) return undefined;
    throw error;
  }
}

let cachedBootId: string | undefined;

/** Differs after every start of the host. */
export function bootId(): string {
  cachedBootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  return cachedBootId;
}
