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
export function findLockHolder(file: BigIntStats, kinds: readonly LockClass[]): LockHolder | undefined {
  const locks = linesOf('/proc/locks').flatMap((line) => parseLock(line, kinds));
  const near = locks.filter((lock) => lock.inode === String(file.ino));
  if (near.length === 0) return undefined;
  for (const lock of near) {
    // Some file systems (btrfs, overlay) show stat(2) another device number than the kernel uses here.
    const info = lock.pid > 0 && lock.device === deviceOf(file) ? readProcess(lock.pid) : undefined;
    // The flock(1) program locks on behalf of a process that inherited the descriptor, and is gone by now.
    if (info && info.pid !== process.pid) return { pid: info.pid, command: info.command };
  }
  return searchDescriptors(file, kinds);
}

export type LockClass = 'FLOCK' | 'OFDLCK';

interface KernelLock {
  readonly pid: number;
  readonly device: string;
  readonly inode: string;
}

/** A line such as `1: OFDLCK ADVISORY  READ -1 fe:00:1234 101 101`. */
function parseLock(line: string, kinds: readonly string[]): readonly KernelLock[] {
  const [, kind = '', , , pid = '', place = ''] = line.replace(/^lock:\s*/, '').split(/\s+/);
  const cut = place.lastIndexOf(':');
  if (!kinds.includes(kind) || cut < 0) return [];
  return [{ pid: Number(pid), device: place.slice(0, cut), inode: place.slice(cut + 1) }];
}

/** As /proc/locks writes a device: hexadecimal major and minor. */
function deviceOf(file: BigIntStats): string {
  const major = (file.dev >> 8n) & 0xfffn;
  const minor = (file.dev & 0xffn) | ((file.dev >> 12n) & 0xfff00n);
  return [major, minor].map((part) => part.toString(16).padStart(2, '0')).join(':');
}

function searchDescriptors(file: BigIntStats, kinds: readonly LockClass[]): LockHolder | undefined {
  const deadline = performance.now() + SEARCH_LIMIT_MS;
  for (const pid of namesOf('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    if (performance.now() > deadline) return undefined;
    for (const fd of namesOf(`/proc/${pid}/fdinfo`)) {
      const locks = linesOf(`/proc/${pid}/fdinfo/${fd}`).flatMap((line) => parseLock(line, kinds));
      const near = locks.filter((lock) => lock.inode === String(file.ino));
      // Only a file that is nearly sure to be ours is looked at: one on a dead FUSE or NFS server would never answer.
      const isIt = near.some(({ device }) => device === deviceOf(file) || isSameFile(`/proc/${pid}/fd/${fd}`, file));
      if (isIt) return { pid: Number(pid), command: readProcess(Number(pid))?.command ?? '' };
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
