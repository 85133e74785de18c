import { createHash } from 'node:crypto';
import { lstat, mkdir, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { fromSystemError, HvError, isSystemError } from '../errors/index.ts';
import { isRoot } from '../system/index.ts';

/** The longest path that a Unix socket may have (sockaddr_un.sun_path less its NUL). */
export const MAX_SOCKET_PATH_BYTES = 107;

/** Where an instance of hv keeps what lasts (`home`) and what lives until the host restarts (`run`). */
export interface HvPaths {
  readonly home: string;
  readonly run: string;
  readonly vms: string;
  readonly operations: string;
  readonly settingsFile: string;
  /** What commands did; machines' own happenings lie in their data folders. */
  readonly eventsFile: string;
  readonly keeperSocket: string;
  readonly keeperLock: string;
  readonly keeperLog: string;
}

/**
 * Resolves HV_HOME and HV_RUN. Each home has its own run folder, so that two of them never meet:
 * root: /var/lib/hv and /run/hv; others: the XDG data and runtime folders. A process of ours that is told its run folder
 * (`run`) takes it as it is.
 */
export function resolvePaths(options: { readonly home?: string; readonly run?: string } = {}): HvPaths {
  const defaultHome = isRoot()
    ? '/var/lib/hv'
    : join(process.env.XDG_DATA_HOME || join(homedir(), '.local/share'), 'hv');
  const home = resolve(options.home ?? (process.env.HV_HOME || defaultHome));
  const runRoot = process.env.HV_RUN ? resolve(process.env.HV_RUN) : defaultRun();
  const run =
    options.run ??
    (home === defaultHome
      ? runRoot
      : join(runRoot, `h-${createHash('sha256').update(home).digest('hex').slice(0, 8)}`));
  if (!isAbsolute(home)) throw new HvError('invalid-argument', `HV_HOME ${home} is not an absolute path`);
  return {
    home,
    run,
    vms: join(home, 'vms'),
    operations: join(home, 'operations'),
    settingsFile: join(home, 'host.json'),
    eventsFile: join(home, 'events.ndjson'),
    keeperSocket: join(run, 'keeper.sock'),
    keeperLock: join(run, 'keeper.lock'),
    keeperLog: join(run, 'keeper.log'),
  };
}

function defaultRun(): string {
  if (isRoot()) return '/run/hv';
  const runtime = process.env.XDG_RUNTIME_DIR;
  return runtime ? join(runtime, 'hv') : `/tmp/hv-${process.getuid?.() ?? 0}`;
}

/** The folders of one machine. */
export interface VmPaths {
  /** Root's part: the definition and its lock. */
  readonly folder: string;
  readonly definition: string;
  readonly lock: string;
  /** Held from an order of two steps to its decision; whoever finishes such an order takes it first. */
  readonly decisionLock: string;
  readonly workerLog: string;
  /** Sockets and the runtime record, gone after a restart of the host. */
  readonly run: string;
}

export function vmPaths(paths: HvPaths, vmId: string): VmPaths {
  const folder = join(paths.vms, vmId);
  return {
    folder,
    definition: join(folder, 'vm.json'),
    lock: join(folder, 'lock'),
    decisionLock: join(folder, 'decision.lock'),
    workerLog: join(folder, 'worker.log'),
    run: join(paths.run, shortId(vmId)),
  };
}

/** Socket paths have 107 bytes: twelve digits of the id are enough, and creation refuses a second machine that shares them. */
export function shortId(vmId: string): string {
  return vmId.replaceAll('-', '').slice(0, 12);
}

/**
 * Makes the folders of a home. Their owner is checked: a folder that another user planted is refused.
 * Root's are searchable (0711), because each machine's processes run as a user of their own; a user's are 0700.
 * @throws HvError `permission-denied`, `io`
 */
export async function ensureFolders(paths: HvPaths): Promise<void> {
  for (const path of [paths.home, paths.vms, paths.operations, paths.run]) await ensureFolder(path);
  await checkRunFolder(paths);
  const longest = Buffer.byteLength(join(paths.run, 'x'.repeat(12), 'control.sock'));
  if (longest > MAX_SOCKET_PATH_BYTES) {
    throw new HvError('invalid-argument', `the folder ${paths.run} is too long a path for sockets`, {
      detail: { path: paths.run, bytes: longest, maximum: MAX_SOCKET_PATH_BYTES },
      hint: 'Set HV_RUN to a short folder.',
    });
  }
}

/**
 * Checks what other processes are found by, before any of it is believed: below /tmp anybody may have made the folder.
 * @throws HvError `permission-denied`
 */
export async function checkRunFolder(paths: HvPaths): Promise<void> {
  try {
    await requireSafeParent(paths.run);
    await requireOurs(paths.run);
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return; // nothing runs
    throw fromSystemError(error, `cannot look at the folder ${paths.run}`, { path: paths.run });
  }
}

export async function ensureFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: isRoot() ? 0o711 : 0o700 });
    await requireOurs(path);
  } catch (error) {
    throw fromSystemError(error, `cannot make the folder ${path}`, { path });
  }
}

/** Whoever may rename what lies in the folder above can put another folder in its place. */
async function requireSafeParent(path: string): Promise<void> {
  const parent = dirname(path);
  const { uid, mode } = await stat(parent);
  const isShared = (mode & 0o022) !== 0 && (mode & 0o1000) === 0;
  if ((uid === 0 || uid === process.getuid?.()) && !isShared) return;
  throw new HvError('permission-denied', `the folder ${parent} lets others replace ${path}`, {
    detail: { path: parent, owner: uid, mode: (mode & 0o7777).toString(8) },
    hint: 'Set HV_RUN to a folder of your own.',
  });
}

async function requireOurs(path: string): Promise<void> {
  const found = await lstat(path);
  const uid = process.getuid?.() ?? 0;
  if (!found.isDirectory() || found.uid !== uid || (found.mode & 0o022) !== 0) {
    throw new HvError('permission-denied', `the folder ${path} is not safely ours`, {
      detail: { path, owner: found.uid, mode: (found.mode & 0o7777).toString(8) },
      hint: `It must be a folder owned by user ${uid} that others cannot write to.`,
    });
  }
}
