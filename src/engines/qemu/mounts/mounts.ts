import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import { abortedError, sleep, throwIfAborted, withDeadline } from '../../../async/index.ts';
import type { AttachedDisk, MountVhdOptions } from '../../../disk/index.ts';
import { fromSystemError, HvError, type HvErrorJson, isHvError, isSystemError } from '../../../errors/index.ts';
import { unmountFuse } from '../../../protocols/fuse/index.ts';
import {
  ensureFolders,
  type HvPaths,
  listMounts,
  type MountPaths,
  type MountRecord,
  mountPaths,
  readMountRecord,
} from '../../../state/index.ts';
import {
  acquireLock,
  bootId,
  entryPoint,
  isAlive,
  isRoot,
  minimalEnvironment,
  runProgram,
  waitForExit,
} from '../../../system/index.ts';
import { ControlClient } from '../control/client.ts';
import { loopDevicesOn, readMounts } from './kernel-state.ts';
import { detachNbd, nbdDevicesOn } from './nbd-device.ts';
import { chooseWay, examineWays } from './ways.ts';
import { type MountOrder, mountAnswerSchema } from './wire.ts';

const LOCK_TIMEOUT_MS = 60_000;
const WORKER_START_MS = 60_000;
const WORKER_END_MS = 30_000;
const PROGRAM_DEADLINE_MS = 30_000;
/** Whoever looks at every new device (udev) holds it for a moment. */
const BUSY_MS = 3000;
const BUSY_STEP_MS = 100;

/** The disks that this home shows: each has a worker of its own, which outlives the command that started it. */
export class Mounts {
  readonly #paths: HvPaths;

  constructor(paths: HvPaths) {
    this.#paths = paths;
  }

  /**
   * @param path the disk's file, absolute and without links
   * @throws HvError `in-use` (also: mounted already), `missing-dependency`, `unsupported`, and what opening the disk says
   */
  async mount(path: string, options: MountVhdOptions): Promise<AttachedDisk> {
    const way = await this.checkMount(path, options);
    await ensureFolders(this.#paths);
    await using _lock = await this.#lock(options.signal);
    const at = mountPaths(this.#paths, path);
    await this.#clear(at, path);
    try {
      await mkdir(at.folder, { mode: 0o700 });
      await mkdir(at.files, { mode: 0o700 });
      await this.#startWorker(
        at,
        {
          home: this.#paths.home,
          run: this.#paths.run,
          path,
          way,
          readOnly: isReadOnly(options),
          mountFileSystems: options.mountFileSystems ?? false,
          allowParents: [...(options.allowParents ?? [])],
        },
        options.signal,
      );
      const record = await readMountRecord(at);
      if (!record) throw new HvError('internal', `the worker of ${path} left no record`);
      return describe(record);
    } catch (error) {
      await cleanUp(at);
      throw fromSystemError(error, `could not mount ${path}`, { path });
    }
  }

  /** Says how a disk would be mounted; looks at the host alone. @throws HvError `missing-dependency`, `unsupported`, `in-use` */
  async checkMount(path: string, options: MountVhdOptions): Promise<AttachedDisk['way']> {
    throwIfAborted(options.signal, 'mounting the disk');
    const needsDevice = options.mountFileSystems ?? false;
    const way = chooseWay(await examineWays(), { asked: options.way, needsDevice });
    const record = await readMountRecord(mountPaths(this.#paths, path));
    if (record && isServed(record)) throw alreadyMounted(record);
    return way;
  }

  /**
   * Takes the disk away: what is mounted from it, its devices, its files; then it is flushed and closed, and its worker ends.
   * @throws HvError `not-found` (not mounted), `in-use` (somebody still uses it; what can be taken away twice is tried again)
   */
  async dismount(path: string, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    const at = mountPaths(this.#paths, path);
    await using _lock = await this.#lock(options.signal);
    const record = await readMountRecord(at);
    if (!record && !existsSync(at.folder)) throw notMounted(path);
    if (!record || !isServed(record)) {
      await cleanUp(at);
      return;
    }
    await refuseWhenUsed(at, record);
    for (const { mountPath } of record.partitions) if (mountPath !== null) await unmount(mountPath, path);
    await detachLoops(at, record);
    await using worker = await ControlClient.connect(at.controlSocket, "the disk's worker");
    // Asked before, answered after: the worker leaves as soon as nothing shows the disk and whoever asked has an answer.
    const ended = worker.call({ op: 'end' });
    ended.catch(() => {}); // awaited below, unless unmounting fails
    if (record.way === 'nbd') await detachDevices(at, record);
    else await unmountFiles(at, path);
    await withDeadline(ended, WORKER_END_MS, "waiting for the disk's worker");
    await withDeadline(waitForExit(record.worker), WORKER_END_MS, "waiting for the disk's worker to leave");
    await cleanUp(at);
  }

  async list(): Promise<AttachedDisk[]> {
    const records = await Promise.all((await listMounts(this.#paths)).map((at) => readMountRecord(at)));
    return records
      .filter((record): record is MountRecord => record !== undefined)
      .map(describe)
      .sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  async #lock(signal: AbortSignal | undefined): Promise<AsyncDisposable> {
    try {
      return await acquireLock(`${this.#paths.run}/mounts.lock`, { timeoutMs: LOCK_TIMEOUT_MS, signal });
    } catch (error) {
      // Nothing was ever mounted here.
      if (isHvError(error, 'not-found')) return { [Symbol.asyncDispose]: async () => {} };
      throw error;
    }
  }

  /** What a worker that is gone left behind. */
  async #clear(at: MountPaths, path: string): Promise<void> {
    const record = await readMountRecord(at);
    if (record && isServed(record)) throw alreadyMounted(record);
    if (record && record.path !== path) {
      throw new HvError('in-use', `${record.path} is in the place that ${path} needs`, {
        hint: `hv vhd dismount ${record.path}`,
      });
    }
    await cleanUp(at);
  }

  async #startWorker(at: MountPaths, order: MountOrder, signal: AbortSignal | undefined): Promise<void> {
    const log = openSync(at.log, 'a', 0o600);
    let child: ChildProcess;
    try {
      child = spawn(process.execPath, [entryPoint(import.meta.url, './main.js').pathname], {
        detached: true,
        cwd: '/',
        stdio: ['ignore', log, log, 'ipc'],
        // No io_uring in libuv: its kernel threads would keep the rights that the worker gives up.
        env: minimalEnvironment({
          HV_NO_FFI: process.env.HV_NO_FFI,
          UV_THREADPOOL_SIZE: '16',
          UV_USE_IO_URING: '0',
        }),
      });
    } finally {
      closeSync(log);
    }
    let onAbort = (): void => {};
    try {
      await withDeadline(
        new Promise<void>((resolve, reject) => {
          onAbort = () => reject(signal && abortedError(signal, 'mounting the disk'));
          signal?.addEventListener('abort', onAbort, { once: true });
          child.once('error', reject);
          child.once('exit', () =>
            reject(new HvError('process-failed', "the disk's worker did not start", { hint: `See ${at.log}` })),
          );
          child.once('message', (message) => {
            const answer = mountAnswerSchema.safeParse(message);
            if (answer.success && 'ready' in answer.data) resolve();
            else if (answer.success && 'error' in answer.data)
              reject(HvError.fromJSON(answer.data.error as HvErrorJson)); // fromJSON checks the code
            else reject(new HvError('protocol', "the disk's worker sent what is not its protocol"));
          });
          child.send(order);
        }),
        WORKER_START_MS,
        "waiting for the disk's worker",
      );
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    } finally {
      signal?.removeEventListener('abort', onAbort);
      if (child.connected) child.disconnect();
      child.unref();
    }
  }
}

function isReadOnly({ readOnly, mountFileSystems, trusted }: MountVhdOptions): boolean {
  return readOnly === true || (mountFileSystems === true && trusted !== true);
}

function isServed({ bootId: boot, worker }: MountRecord): boolean {
  return boot === bootId() && isAlive(worker);
}

function describe(record: MountRecord): AttachedDisk {
  const { path, way, readOnly, sizeBytes, devicePath, filePath, partitions, worker, startedTime } = record;
  const state = isServed(record) ? 'attached' : 'broken';
  return {
    path,
    way,
    state,
    readOnly,
    sizeBytes,
    devicePath,
    filePath,
    partitions,
    processId: worker.pid,
    startedTime,
  };
}

function alreadyMounted({ path, devicePath, filePath }: MountRecord): HvError {
  return new HvError('in-use', `${path} is mounted already, as ${devicePath ?? filePath}`, {
    detail: { path, devicePath, filePath },
    hint: `hv vhd dismount ${path}`,
  });
}

function notMounted(path: string): HvError {
  return new HvError('not-found', `${path} is not mounted`, { detail: { path }, hint: 'See hv vhd list-attached.' });
}

async function isShown(at: MountPaths): Promise<boolean> {
  return (await readMounts()).some(({ mountPath }) => mountPath === at.files);
}

/** A file system that somebody mounted from the disk is theirs to unmount. */
async function refuseWhenUsed(at: MountPaths, record: MountRecord): Promise<void> {
  const devices = new Set([record.devicePath, ...record.partitions.map(({ devicePath }) => devicePath)]);
  const isOurs = (path: string): boolean => path.startsWith(`${at.fileSystems}/`);
  const other = (await readMounts()).find(({ source, mountPath }) => devices.has(source) && !isOurs(mountPath));
  if (!other) return;
  throw new HvError('in-use', `${record.path} has a file system that is mounted at ${other.mountPath}`, {
    detail: { path: record.path, devicePath: other.source, mountPath: other.mountPath },
    hint: `umount ${other.mountPath}`,
  });
}

async function unmount(mountPath: string, path: string): Promise<void> {
  if (!(await readMounts()).some((entry) => entry.mountPath === mountPath)) return; // somebody did it already
  try {
    await runProgram('umount', ['--', mountPath], { deadlineMs: PROGRAM_DEADLINE_MS });
  } catch (error) {
    if (!isHvError(error, 'process-failed')) throw error;
    throw busy(path, mountPath, error);
  }
}

/** The loop devices on our files; those on our NBD device, which may be another's by now, only when they are recorded. */
async function detachLoops({ files }: MountPaths, record: MountRecord | undefined): Promise<void> {
  if (!isRoot()) return;
  const recorded = new Set(record?.partitions.map(({ devicePath }) => devicePath));
  const onDevice = record?.way === 'nbd' && record.devicePath !== null ? await loopDevicesOn(record.devicePath) : [];
  for (const device of [...(await loopDevicesOn(files)), ...onDevice.filter((loop) => recorded.has(loop))]) {
    await runProgram('losetup', ['--detach', device], { deadlineMs: PROGRAM_DEADLINE_MS });
  }
}

/** None is left where somebody detached it already. */
async function detachDevices(at: MountPaths, { path }: MountRecord): Promise<void> {
  for (const device of await nbdDevicesOn(at.nbdSocket)) {
    try {
      await detachNbd(device);
    } catch (error) {
      if (!isHvError(error, 'in-use')) throw error;
      throw busy(path, device.devicePath, error);
    }
  }
}

async function unmountFiles(at: MountPaths, path: string): Promise<void> {
  const deadline = performance.now() + BUSY_MS;
  for (;;) {
    if (!(await isShown(at))) return; // somebody did it already
    try {
      await unmountFuse(at.files);
      return;
    } catch (error) {
      if (!isHvError(error, 'process-failed')) throw error;
      if (performance.now() > deadline) throw busy(path, at.files, error);
    }
    await sleep(BUSY_STEP_MS);
  }
}

function busy(path: string, used: string, cause: unknown): HvError {
  return new HvError('in-use', `${path} is still mounted: somebody uses ${used}`, {
    detail: { path, usedPath: used },
    hint: `Find out who with: fuser -v${used.startsWith('/dev/') ? '' : 'm'} ${used}`,
    cause,
  });
}

/**
 * Takes away what is left of a mount without a worker: by what the kernel says is there. Only empty folders and files of
 * ours are removed, so that nothing of a disk is ever deleted through a mount that could not be taken away.
 */
async function cleanUp(at: MountPaths): Promise<void> {
  const inside = (await readMounts()).filter(({ mountPath }) => mountPath.startsWith(`${at.folder}/`));
  const isFiles = (path: string): boolean => path === at.files;
  for (const { mountPath } of inside.filter((entry) => !isFiles(entry.mountPath))) {
    await runProgram('umount', ['-l', '--', mountPath], { deadlineMs: PROGRAM_DEADLINE_MS });
    await removeFolder(mountPath);
  }
  await detachLoops(at, await readMountRecord(at));
  if (inside.some(({ mountPath }) => isFiles(mountPath))) await unmountFuse(at.files, { isLazy: true });
  for (const name of await namesIn(at.fileSystems)) await removeFolder(`${at.fileSystems}/${name}`);
  for (const file of [at.record, at.controlSocket, at.nbdSocket, at.log]) await rm(file, { force: true });
  for (const folder of [at.files, at.fileSystems, at.folder]) await removeFolder(folder);
}

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return [];
    throw fromSystemError(error, `cannot look into ${folder}`, { path: folder });
  }
}

async function removeFolder(path: string): Promise<void> {
  try {
    await rmdir(path);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT')) throw fromSystemError(error, `cannot remove the folder ${path}`, { path });
  }
}
