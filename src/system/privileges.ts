import { readdirSync, readFileSync } from 'node:fs';
import { fromSystemError, HvError } from '../errors/index.ts';
import { nativeLibc } from '../native/index.ts';

export function isRoot(): boolean {
  return process.geteuid?.() === 0;
}

export interface Identity {
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups; none by default. */
  readonly groups?: readonly number[];
}

/**
 * Becomes somebody else for good, in every thread of this process, and proves it: no identity of before is left, no
 * capability, and root cannot be had back. Call it on the main thread; descriptors opened before stay open. The other
 * user may not be able to read hv's own files (an installation below /root): import every module and start every
 * worker thread before the call, for later ones would fail. The FFI of this thread is loaded here for the same reason.
 * Already being that user with those groups is fine without root.
 * @throws HvError `permission-denied`, `invalid-argument` (root as the target), `internal` when the proof fails:
 *   whoever gets that must end the process
 */
export function dropPrivileges(identity: Identity): void {
  const { uid, gid, groups = [] } = identity;
  for (const id of [uid, gid, ...groups]) {
    // 2^32-1 means "leave it as it is" to the kernel.
    if (!Number.isSafeInteger(id) || id <= 0 || id >= 2 ** 32 - 1) {
      throw new HvError('invalid-argument', `${id} is no unprivileged user or group`, { detail: { uid, gid } });
    }
  }
  if (!process.setuid || !process.setgid || !process.setgroups)
    throw new HvError('unsupported', 'only the main thread of a Linux process can change its user');
  if (isRoot()) {
    nativeLibc();
    try {
      process.setgroups([...groups]);
      process.setgid(gid); // for root these set the real, effective and saved identity at once
      process.setuid(uid);
    } catch (error) {
      throw fromSystemError(error, `could not become user ${uid}`, { uid, gid });
    }
  } else if (process.geteuid?.() !== uid) {
    throw new HvError('permission-denied', `only root can become user ${uid}`, { detail: { uid, gid } });
  }
  proveDropped(uid, gid, groups);
}

function proveDropped(uid: number, gid: number, groups: readonly number[]): void {
  try {
    process.setuid?.(0);
  } catch {
    // Refused, as it must be. What every thread looks like decides below in any case.
  }
  const wantedGroups = [...new Set([...groups])].sort((a, b) => a - b).join(' ');
  for (const thread of readdirSync('/proc/self/task')) {
    const status = readThreadStatus(thread);
    if (status === undefined) continue;
    const found = [
      allEqual(status.get('Uid'), uid),
      allEqual(status.get('Gid'), gid),
      sorted(status.get('Groups')) === wantedGroups,
      ['CapInh', 'CapPrm', 'CapEff', 'CapAmb'].every((set) => /^0+$/.test(status.get(set) ?? '')),
    ];
    if (found.every((good) => good)) continue;
    throw new HvError('internal', `privileges could not be dropped to user ${uid} in every thread`, {
      detail: { uid, gid, thread: Number(thread), identities: status.get('Uid') ?? '' },
    });
  }
}

function readThreadStatus(thread: string): ReadonlyMap<string, string> | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/self/task/${thread}/status`, 'latin1');
  } catch {
    return undefined; // a thread that has ended since
  }
  return new Map(
    text.split('\n').map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon), line.slice(colon + 1).trim()];
    }),
  );
}

/** The four identities of a kind: real, effective, saved, file system. */
function allEqual(field: string | undefined, id: number): boolean {
  return field?.split(/\s+/).every((value) => Number(value) === id) === true;
}

function sorted(field: string | undefined): string {
  return (field ?? '')
    .split(/\s+/)
    .filter((value) => value !== '')
    .map(Number)
    .sort((a, b) => a - b)
    .join(' ');
}
