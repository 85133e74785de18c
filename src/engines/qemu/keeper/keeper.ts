import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { sleep, withDeadline } from '../../../async/index.ts';
import { HvError, type HvErrorJson, isHvError, isSystemError } from '../../../errors/index.ts';
import { connectUnixSocket } from '../../../protocols/qmp/index.ts';
import { EventLog, type HvPaths, type RuntimeRecord, readRuntime, vmPaths } from '../../../state/index.ts';
import { bootId, entryPoint, isAlive, minimalEnvironment } from '../../../system/index.ts';
import { UNWATCHED_END } from '../observe.ts';
import { SOCKETS } from '../sockets.ts';

/** A worker opens its disks before it listens: journals may have to be replayed. */
const WORKER_START_MS = 60_000;
const RELEASE_MS = 5000;
const FIRST_BACKOFF_MS = 20;
const LAST_BACKOFF_MS = 2000;
/** A worker that lived this long has earned a quick restart. */
const STABLE_MS = 10_000;

interface Watched {
  readonly socket: Socket;
  readonly sinceMs: number;
}

/**
 * Starts the workers of machines and starts them again when they die under a living QEMU. Knows a worker by the
 * connection that it keeps to it: the kernel says at once when that ends. Reads runtime records, nothing else.
 */
export class Keeper {
  readonly #paths: HvPaths;
  readonly #watched = new Map<string, Watched>();
  readonly #starting = new Map<string, Promise<void>>();
  readonly #backoffMs = new Map<string, number>();
  readonly #onIdle: () => void;
  readonly #log: (text: string) => void;

  constructor(paths: HvPaths, options: { onIdle(): void; log(text: string): void }) {
    this.#paths = paths;
    this.#onIdle = options.onIdle;
    this.#log = options.log;
  }

  get isIdle(): boolean {
    return this.#watched.size === 0 && this.#starting.size === 0;
  }

  /**
   * Returns once the machine's worker listens. @throws HvError why it could not be started; with `endedInOrder` where it
   * took over a machine that an earlier order had ended, and left with it: the next one finds it off
   */
  ensureWorker(vmId: string): Promise<void> {
    const known = this.#starting.get(vmId);
    if (known) return known;
    const work = this.#ensure(vmId).finally(() => {
      this.#starting.delete(vmId);
      if (this.isIdle) this.#onIdle();
    });
    this.#starting.set(vmId, work);
    return work;
  }

  /** Returns once the worker of a machine that is off has left. @throws HvError `timeout` */
  async releaseWorker(vmId: string): Promise<void> {
    await this.#starting.get(vmId)?.catch(() => {}); // whoever asked for it has the reason
    const watched = this.#watched.get(vmId);
    if (!watched) return;
    const { socket } = watched;
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.write(`${JSON.stringify({ id: 1, op: 'leave' })}\n`); // its answer is of no interest: it leaves, or has a machine
    await withDeadline(closed, RELEASE_MS, "waiting for the machine's worker to leave");
  }

  /** Finds every machine whose QEMU lives and takes its worker into care. */
  async rescue(): Promise<void> {
    const records = await runtimeRecords(this.#paths);
    await Promise.all(
      records.map(async (record) => {
        if (this.#watched.has(record.vmId)) return;
        try {
          await this.ensureWorker(record.vmId);
        } catch (error) {
          this.#log(`the worker of ${record.vmId} does not come back: ${String(error)}`);
          this.#restartSoon(record.vmId);
        }
      }),
    );
  }

  async #ensure(vmId: string): Promise<void> {
    if (this.#watched.has(vmId)) return;
    const socketPath = `${vmPaths(this.#paths, vmId).run}/${SOCKETS.control}`;
    try {
      this.#watch(vmId, await connectUnixSocket(socketPath));
      return;
    } catch (error) {
      if (!isHvError(error)) throw error; // nobody listens: a worker is needed
    }
    await this.#spawn(vmId, socketPath);
  }

  async #spawn(vmId: string, socketPath: string): Promise<void> {
    const log = openSync(vmPaths(this.#paths, vmId).workerLog, 'a', 0o600);
    let child: ChildProcess;
    try {
      child = spawn(
        process.execPath,
        [entryPoint(import.meta.url, '../worker/main.js').pathname, this.#paths.home, this.#paths.run, vmId],
        {
          detached: true,
          cwd: '/',
          stdio: ['ignore', log, log, 'ipc'],
          // Reads that must wait for the storage go through the thread pool: as many at once as QEMU's queues bring.
          // No io_uring in libuv: its kernel threads would keep the rights that the worker gives up.
          env: minimalEnvironment({
            HV_NO_FFI: process.env.HV_NO_FFI,
            UV_THREADPOOL_SIZE: '16',
            UV_USE_IO_URING: '0',
          }),
        },
      );
    } finally {
      closeSync(log);
    }
    let reason: HvErrorJson | undefined;
    // It may have become the machine's own user by then: what it says is not believed to have a shape.
    child.on('message', (message: { error?: HvErrorJson } | null) => {
      if (typeof message?.error?.message === 'string') reason = message.error;
    });
    const failed = new AbortController();
    let exitCode: number | null = null;
    const exited = new Promise<void>((resolve) => {
      child.once('error', () => resolve());
      child.once('exit', (code) => {
        exitCode = code;
        resolve();
      });
    });
    void exited.then(() => failed.abort());
    try {
      const socket = await connectUnixSocket(socketPath, { waitForSocketMs: WORKER_START_MS, signal: failed.signal });
      this.#watch(vmId, socket);
    } catch (error) {
      if (reason) throw HvError.fromJSON(reason);
      if (!failed.signal.aborted) child.kill('SIGKILL');
      throw new HvError('process-failed', "the machine's worker did not start", {
        detail: { log: vmPaths(this.#paths, vmId).workerLog, endedInOrder: exitCode === 0 },
        hint: `See ${vmPaths(this.#paths, vmId).workerLog}`,
        cause: error,
      });
    } finally {
      if (child.connected) child.disconnect();
      child.unref();
    }
  }

  #watch(vmId: string, socket: Socket): void {
    this.#watched.set(vmId, { socket, sinceMs: performance.now() });
    socket.on('error', () => {});
    socket.resume();
    socket.once('close', () => {
      const watched = this.#watched.get(vmId);
      this.#watched.delete(vmId);
      if (watched && performance.now() - watched.sinceMs > STABLE_MS) this.#backoffMs.delete(vmId);
      this.#restartSoon(vmId);
    });
  }

  #restartSoon(vmId: string): void {
    this.#restartLater(vmId).catch((error: unknown) => this.#log(`${vmId} is given up: ${String(error)}`));
  }

  /** A worker is gone. If its QEMU lives, it gets a new one; a growing pause keeps a hopeless case from burning a core. */
  async #restartLater(vmId: string): Promise<void> {
    const record = await readRuntime(vmPaths(this.#paths, vmId).run);
    if (!record || !isLiving(record)) {
      this.#backoffMs.delete(vmId);
      if (record?.bootId === bootId()) await this.#writeDown(vmId);
      if (this.isIdle) this.#onIdle();
      return;
    }
    const backoffMs = this.#backoffMs.get(vmId) ?? FIRST_BACKOFF_MS;
    this.#backoffMs.set(vmId, Math.min(backoffMs * 2, LAST_BACKOFF_MS));
    this.#log(`the worker of ${vmId} is gone while its machine runs: starting a new one`);
    await sleep(backoffMs);
    try {
      await this.ensureWorker(vmId);
    } catch (error) {
      this.#log(`the worker of ${vmId} does not come back: ${String(error)}`);
      this.#restartSoon(vmId);
    }
  }

  /** Its worker, which writes such things down, was gone before it. */
  async #writeDown(vmId: string): Promise<void> {
    try {
      await new EventLog(this.#paths.eventsFile).append({
        time: new Date().toISOString(),
        vmId,
        vmName: null,
        kind: 'state',
        state: 'Off',
        reason: UNWATCHED_END,
      });
    } catch (error) {
      this.#log(`an event is lost: ${String(error)}`);
    }
  }
}

export function isLiving(record: RuntimeRecord): boolean {
  return record.bootId === bootId() && isAlive(record.qemu);
}

/** The records of machines whose QEMU lives. */
export async function runtimeRecords(paths: HvPaths): Promise<RuntimeRecord[]> {
  let names: string[];
  try {
    names = await readdir(paths.run);
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return [];
    throw error;
  }
  const records = await Promise.all(
    names.filter((name) => /^[0-9a-f]{12}$/.test(name)).map((name) => readRuntime(`${paths.run}/${name}`)),
  );
  return records.filter((record): record is RuntimeRecord => record !== undefined && isLiving(record));
}
