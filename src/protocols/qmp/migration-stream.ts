import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import {
  abortedError,
  type Deferred,
  deferred,
  type LongOptions,
  sleep,
  throttleProgress,
  throwIfAborted,
} from '../../async/index.ts';
import { fromSystemError, HvError, isHvError } from '../../errors/index.ts';
import { checkSocketPath, connectUnixSocket } from '../unix-socket.ts';
import {
  type MigrateOptions,
  type MigrationStatus,
  migrateIncoming,
  migrateToUnixSocket,
  waitIncoming,
} from './migration.ts';
import type { QemuStatus } from './ops.ts';
import type { QmpClient } from './qmp-client.ts';

/** How much of the stream lies in memory at most: what waits for the disk, and one write. */
const MAX_WAITING_BYTES = 8 * 2 ** 20;
const READ_BYTES = 1024 * 1024;
/** QEMU_VM_FILE_MAGIC and version 3 (migration/savevm.c), big-endian. */
const STREAM_HEAD = Buffer.from([0x51, 0x45, 0x56, 0x4d, 0, 0, 0, 3]);
/** QEMU's failure may be heard before the sink's, which caused it. */
const SINK_SETTLE_MS = 100;
const DEFAULT_CONNECT_TIMEOUT_MS = 60_000;

export interface ReceiveMigrationOptions extends LongOptions {
  /** A guest's state is hostile too: more than this is refused. Default none. */
  readonly maxBytes?: number | undefined;
  /** How long QEMU may take to connect. Default 60,000. */
  readonly connectTimeoutMs?: number | undefined;
}

/**
 * Listens on a unix socket for one QEMU's migration and writes its stream beside `filePath`, in bounded memory.
 * Resolves once it listens: only then tell QEMU to migrate. The stream's end does not say that the migration was
 * completed, so the file takes its name in `commit()` only; leaving the scope without it leaves nothing behind.
 * An abort ends the stream, which QEMU reports as a failed migration, and the guest goes on.
 *
 * @throws HvError `already-exists` or `in-use` (the socket's path), `no-space`, `permission-denied`, `aborted`
 */
export async function receiveMigration(
  listenPath: string,
  filePath: string,
  options: ReceiveMigrationOptions = {},
): Promise<MigrationSink> {
  throwIfAborted(options.signal, 'receiving a saved state');
  checkSocketPath(listenPath);
  const temporaryPath = `${filePath}.${randomBytes(4).toString('hex')}.tmp`;
  let file: FileHandle | undefined;
  const server = createServer({ pauseOnConnect: true });
  try {
    file = await open(temporaryPath, 'wx+', 0o600);
    server.listen({ path: listenPath, backlog: 1 });
    await once(server, 'listening');
  } catch (error) {
    await file?.close();
    if (file) await rm(temporaryPath, { force: true });
    throw fromSystemError(error, `preparing to receive a saved state into ${filePath}`, { filePath, listenPath });
  }
  return new MigrationSink(server, file, temporaryPath, filePath, options);
}

/** A stream on its way into a file. */
export class MigrationSink implements AsyncDisposable {
  /** Resolves with the length in bytes when QEMU has sent everything and it was written; rejects as `receiveMigration`. */
  readonly received: Promise<number>;
  readonly #server: Server;
  readonly #file: FileHandle;
  readonly #temporaryPath: string;
  readonly #filePath: string;
  readonly #stop = new AbortController();
  #isOpen = true;

  constructor(
    server: Server,
    file: FileHandle,
    temporaryPath: string,
    filePath: string,
    options: ReceiveMigrationOptions,
  ) {
    this.#server = server;
    this.#file = file;
    this.#temporaryPath = temporaryPath;
    this.#filePath = filePath;
    const signal = options.signal ? AbortSignal.any([options.signal, this.#stop.signal]) : this.#stop.signal;
    this.received = this.#receive(signal, options).finally(() => closeServer(server));
    this.received.catch(() => {}); // whoever gives up on the sink need not await it
  }

  /**
   * Makes the received stream durable under its name: fsync, rename, fsync of the folder. Call it once QEMU reports the
   * migration as completed.
   *
   * @throws HvError `protocol` (what came is no state of a virtual machine), `no-space`, `io`
   */
  async commit(): Promise<number> {
    const sizeBytes = await this.received;
    try {
      await this.#file.sync();
      this.#isOpen = false;
      await this.#file.close();
      await rename(this.#temporaryPath, this.#filePath);
      const folder = await open(dirname(this.#filePath), 'r');
      try {
        await folder.sync();
      } finally {
        await folder.close();
      }
    } catch (error) {
      throw fromSystemError(error, `keeping the saved state ${this.#filePath}`, { filePath: this.#filePath });
    }
    return sizeBytes;
  }

  /** Ends the stream if it still runs, and removes what was not committed. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.received.catch(() => {});
    if (this.#isOpen) {
      this.#isOpen = false;
      await this.#file.close();
    }
    await rm(this.#temporaryPath, { force: true });
  }

  async #receive(signal: AbortSignal, options: ReceiveMigrationOptions): Promise<number> {
    const { maxBytes = Number.POSITIVE_INFINITY, connectTimeoutMs = DEFAULT_CONNECT_TIMEOUT_MS } = options;
    const tell = throttleProgress(options.onProgress);
    const socket = await acceptOne(this.#server, connectTimeoutMs, signal);
    let sizeBytes = 0;
    for await (const chunks of chunksOf(socket, signal)) {
      const batchBytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
      if (sizeBytes + batchBytes > maxBytes) {
        throw new HvError('protocol', `the saved state is larger than ${maxBytes} bytes`, { detail: { maxBytes } });
      }
      await writeAll(this.#file, chunks, sizeBytes, this.#filePath);
      sizeBytes += batchBytes;
      tell({ phase: 'write', done: sizeBytes });
    }
    await this.#checkHead();
    return sizeBytes;
  }

  async #checkHead(): Promise<void> {
    const head = Buffer.alloc(STREAM_HEAD.length);
    const { bytesRead } = await this.#file.read(head, 0, head.length, 0);
    if (bytesRead < head.length || !head.equals(STREAM_HEAD)) {
      throw new HvError('protocol', 'what QEMU sent is not the state of a virtual machine', {
        detail: { head: head.subarray(0, bytesRead).toString('hex') },
      });
    }
  }
}

/**
 * Streams a saved state into a QEMU that listens on a unix socket (`migrate-incoming`), in bounded memory. Resolves with
 * the length in bytes when QEMU has taken all of it. An abort cuts the stream: QEMU then ends, for it holds half a guest.
 *
 * @throws HvError `not-found`, `corrupt` (the file holds no state), `io` (QEMU ended: see its log), `aborted`
 */
export async function sendMigration(
  filePath: string,
  socketPath: string,
  options: LongOptions & { readonly waitForSocketMs?: number | undefined } = {},
): Promise<number> {
  const { signal } = options;
  const tell = throttleProgress(options.onProgress);
  const doing = `sending the saved state ${filePath}`;
  let file: FileHandle;
  try {
    file = await open(filePath, 'r');
  } catch (error) {
    throw fromSystemError(error, doing, { filePath });
  }
  let socket: Socket | undefined;
  try {
    const total = (await file.stat()).size;
    let buffer = Buffer.allocUnsafe(READ_BYTES);
    let spare = Buffer.allocUnsafe(READ_BYTES);
    let { bytesRead } = await file.read(buffer, 0, READ_BYTES, 0);
    if (!buffer.subarray(0, Math.min(bytesRead, STREAM_HEAD.length)).equals(STREAM_HEAD)) {
      throw new HvError('corrupt', `${filePath} does not hold the state of a virtual machine`, {
        detail: { filePath },
      });
    }
    socket = await connectUnixSocket(socketPath, options);
    const outcome = watchSocket(socket, signal, doing);
    socket.resume(); // QEMU sends nothing back; its end must be seen
    let done = 0;
    while (bytesRead > 0) {
      const sent = send(socket, buffer.subarray(0, bytesRead));
      const position = done + bytesRead;
      if (position >= total) {
        await Promise.race([sent, outcome.promise]);
        bytesRead = 0;
      } else {
        // The next piece is read while this one leaves; two buffers are all that this holds.
        const [next] = await Promise.race([
          Promise.all([file.read(spare, 0, READ_BYTES, position), sent]),
          outcome.promise,
        ]);
        [buffer, spare] = [spare, buffer];
        bytesRead = next.bytesRead;
      }
      done = position;
      tell({ phase: 'read', done, total });
    }
    // With the last byte sent, QEMU may be done before us and hang up: that is how a restore ends, not a failure.
    const ended = socket;
    await new Promise<void>((resolve) => {
      ended.once('close', () => resolve());
      ended.end(() => resolve());
    });
    throwIfAborted(signal, doing);
    return done;
  } catch (error) {
    throw fromSystemError(error, doing, { filePath, socketPath });
  } finally {
    socket?.destroy();
    await file.close();
  }
}

/**
 * Saves the guest of a QEMU into a file: listens, migrates, and keeps the file only when QEMU says that it is complete.
 * An abort cancels in QEMU, the guest goes on, and no file stays.
 *
 * @throws HvError as `receiveMigration` and `migrateToUnixSocket`; `no-space` and `io` of the file come first
 */
export async function saveToFile(
  client: QmpClient,
  listenPath: string,
  filePath: string,
  options: MigrateOptions & { readonly maxBytes?: number | undefined } = {},
): Promise<{ readonly sizeBytes: number; readonly status: MigrationStatus }> {
  await using sink = await receiveMigration(listenPath, filePath, { maxBytes: options.maxBytes });
  // A sink that fails (a full disk) closes the socket, and QEMU's migration fails for it: the sink knows why.
  let sinkFailure: unknown;
  const watched = sink.received.catch((error: unknown) => {
    sinkFailure = error;
  });
  let status: MigrationStatus;
  try {
    status = await migrateToUnixSocket(client, listenPath, options);
  } catch (error) {
    if (!isHvError(error, 'process-failed')) throw error;
    await Promise.race([watched, sleep(SINK_SETTLE_MS)]);
    throw sinkFailure ?? error;
  }
  await watched;
  const sizeBytes = await sink.commit();
  return { sizeBytes, status };
}

/**
 * Restores a guest from a file into a QEMU started with the same arguments and `-incoming defer`; returns its state
 * once it is complete. A guest that was saved while paused is paused.
 *
 * @throws HvError as `sendMigration`; `process-failed` when QEMU refuses the state, by ending
 */
export async function restoreFromFile(
  client: QmpClient,
  socketPath: string,
  filePath: string,
  options: LongOptions & { readonly timeoutMs?: number | undefined } = {},
): Promise<QemuStatus> {
  const { signal, timeoutMs, onProgress } = options;
  await migrateIncoming(client, socketPath, { signal });
  await sendMigration(filePath, socketPath, { signal, onProgress });
  return await waitIncoming(client, { signal, timeoutMs });
}

async function closeServer(server: Server): Promise<void> {
  // Closing unlinks the socket's path.
  if (server.listening) await new Promise<void>((resolve) => server.close(() => resolve()));
}

function acceptOne(server: Server, timeoutMs: number, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    };
    const fail = (error: unknown): void => {
      settle();
      reject(error);
    };
    const onAbort = (): void => fail(abortedError(signal, 'receiving a saved state'));
    const timer = setTimeout(
      () => fail(new HvError('timeout', `QEMU did not connect within ${timeoutMs} ms`, { detail: { timeoutMs } })),
      timeoutMs,
    );
    server.on('error', (error) => fail(fromSystemError(error, 'receiving a saved state')));
    let isTaken = false;
    server.on('connection', (socket) => {
      if (isTaken || signal.aborted) {
        socket.destroy();
        return;
      }
      isTaken = true;
      settle();
      server.close();
      resolve(socket);
    });
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** What a socket brings, in batches as large as the consumer is slow; the kernel holds the peer back beyond the bound. */
async function* chunksOf(socket: Socket, signal: AbortSignal): AsyncGenerator<Buffer[], void, undefined> {
  let waiting: Buffer[] = [];
  let waitingBytes = 0;
  let isEnded = false;
  let failure: unknown;
  let wake: Deferred<void> = deferred();
  const onAbort = (): void => {
    failure ??= abortedError(signal, 'receiving a saved state');
    socket.destroy();
    wake.resolve();
  };
  socket.on('data', (chunk: Buffer) => {
    waiting.push(chunk);
    waitingBytes += chunk.length;
    if (waitingBytes >= MAX_WAITING_BYTES) socket.pause();
    wake.resolve();
  });
  socket.on('error', (error) => {
    failure ??= fromSystemError(error, 'receiving a saved state');
    wake.resolve();
  });
  socket.on('close', () => {
    isEnded = true;
    wake.resolve();
  });
  socket.on('end', () => socket.end());
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  else socket.resume();
  try {
    for (;;) {
      if (failure !== undefined) throw failure;
      if (waiting.length > 0) {
        const batch = waiting;
        waiting = [];
        waitingBytes = 0;
        if (socket.isPaused()) socket.resume();
        yield batch;
      } else if (isEnded) {
        return;
      } else {
        wake = deferred();
        await wake.promise;
      }
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    socket.destroy();
  }
}

async function writeAll(file: FileHandle, chunks: Buffer[], position: number, filePath: string): Promise<void> {
  try {
    let batch = chunks;
    let at = position;
    while (batch.length > 0) {
      // IOV_MAX is 1024 on Linux.
      const now = batch.slice(0, 1024);
      const wanted = now.reduce((sum, chunk) => sum + chunk.length, 0);
      const { bytesWritten } = await file.writev(now, at);
      at += bytesWritten;
      batch = bytesWritten === wanted ? batch.slice(1024) : [Buffer.concat(batch).subarray(bytesWritten)];
    }
  } catch (error) {
    throw fromSystemError(error, `writing the saved state ${filePath}`, { filePath });
  }
}

function send(socket: Socket, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}

/** A promise that never resolves and rejects when the socket ends early or the signal fires. */
function watchSocket(socket: Socket, signal: AbortSignal | undefined, doing: string): Deferred<never> {
  const outcome = deferred<never>();
  outcome.promise.catch(() => {});
  socket.on('error', (error) => outcome.reject(error));
  socket.on('close', () => {
    outcome.reject(new HvError('io', `${doing}: QEMU closed the connection`, { hint: "QEMU's log says why." }));
  });
  const onAbort = (): void => {
    if (signal) outcome.reject(abortedError(signal, doing));
    socket.destroy();
  };
  signal?.addEventListener('abort', onAbort, { once: true });
  socket.on('close', () => signal?.removeEventListener('abort', onAbort));
  if (signal?.aborted) onAbort();
  return outcome;
}
