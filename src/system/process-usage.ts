import { readFileSync } from 'node:fs';
import { isSystemError } from '../errors/index.ts';

/** The unit of times in /proc: the kernel shows USER_HZ, which is 100 on every architecture that hv knows. */
const TICKS_PER_SECOND = 100;

export interface ProcessUsage {
  /** Processor time of all threads, those that have ended too. */
  readonly processorSeconds: number;
  /** Memory that it holds now. */
  readonly residentBytes: number;
}

/** What a process has used (proc(5), stat fields 14 and 15, status VmRSS); undefined when it is gone. */
export function processUsage(pid: number): ProcessUsage | undefined {
  const ticks = ticksOf(`/proc/${pid}/stat`);
  const status = readProc(`/proc/${pid}/status`);
  if (ticks === undefined || status === undefined) return undefined;
  const resident = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1];
  return { processorSeconds: ticks / TICKS_PER_SECOND, residentBytes: Number(resident ?? 0) * 1024 };
}

/** Processor time of one of a process's threads, in seconds; undefined when it has none of that number. */
export function threadSeconds(pid: number, threadId: number): number | undefined {
  const ticks = ticksOf(`/proc/${pid}/task/${threadId}/stat`);
  return ticks === undefined ? undefined : ticks / TICKS_PER_SECOND;
}

function ticksOf(path: string): number | undefined {
  const text = readProc(path);
  if (text === undefined) return undefined;
  // The name stands in brackets and may itself hold brackets and spaces: the last one ends it. What follows is field 3 on.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

function readProc(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ESRCH')) return undefined;
    throw error;
  }
}
