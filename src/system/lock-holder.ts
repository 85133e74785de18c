import { type BigIntStats, readdirSync, readFileSync, statSync } from 'node:fs';
import { readProcess } from './process-identity.ts';

/** Who is in the way of a lock, for the message; best effort and bounded. */
export interface LockHolder {
  readonly pid: number;
  readonly command: string;
}

/** Looking through every descriptor of every process is for error paths only, and never takes longer than this. */
const SEARCH_LIMIT_MS = 300;

/**
 * Finds a process that holds a lock on a file. /proc/locks names the process for flock locks; for locks of an open
 * file description it says -1, so the descriptors themselves are asked (proc(5), /proc/<pid>/fdinfo, "lock:").
 * Undefined when nobody can be named, for instance another user's process.
 */
export function findLockHolder(file: BigIntStats, kinds: readonly ('FLOCK' | 'OFDLCK')[]): LockHolder | undefined {
  const key = fileKey(file);
  const locks = linesOf('/proc/locks').filter((line) => lockOn(line, key, kinds));
  if (locks.length === 0) return undefined;
  for (const line of locks) {
    const pid = Number(line.split(/\s+/)[4]);
    const info = pid > 0 ? readProcess(pid) : undefined;
    // The flock(1) program locks on behalf of a process that inherited the descriptor and is gone by now.
    if (info && info.pid !== process.pid) return { pid: info.pid, command: info.command };
  }
  return searchDescriptors(file, key, kinds);
}

/** As /proc/locks writes it: hexadecimal major and minor, decimal inode. */
function fileKey(file: BigIntStats): string {
  const major = (file.dev >> 8n) & 0xfffn;
  const minor = (file.dev & 0xffn) | ((file.dev >> 12n) & 0xfff00n);
  return `${hex(major)}:${hex(minor)}:${file.ino}`;
}

function hex(value: bigint): string {
  return value.toString(16).padStart(2, '0');
}

function lockOn(line: string, key: string, kinds: readonly string[]): boolean {
  const fields = line.replace(/^lock:\s*/, '').split(/\s+/);
  return kinds.includes(fields[1] ?? '') && fields[5] === key;
}

function searchDescriptors(file: BigIntStats, key: string, kinds: readonly string[]): LockHolder | undefined {
  const deadline = performance.now() + SEARCH_LIMIT_MS;
  for (const pid of namesOf('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    if (performance.now() > deadline) return undefined;
    for (const fd of namesOf(`/proc/${pid}/fd`)) {
      if (!isSameFile(`/proc/${pid}/fd/${fd}`, file)) continue;
      if (!linesOf(`/proc/${pid}/fdinfo/${fd}`).some((line) => lockOn(line, key, kinds))) continue;
      return { pid: Number(pid), command: readProcess(Number(pid))?.command ?? '' };
    }
  }
  return undefined;
}

function isSameFile(path: string, file: BigIntStats): boolean {
  try {
    const found = statSync(path, { bigint: true });
    return found.ino === file.ino && found.dev === file.dev;
  } catch {
    return false; // closed meanwhile, or another user's
  }
}

function linesOf(path: string): readonly string[] {
  try {
    return readFileSync(path, 'latin1').split('\n');
  } catch {
    return [];
  }
}

function namesOf(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
