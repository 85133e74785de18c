import { chmodSync, chownSync, existsSync, lstatSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import type { BlockDevice } from '../../disk/block-device.ts';
import { fromSystemError, HvError, isSystemError } from '../../errors/index.ts';
import { DirectSocket } from '../../system/index.ts';
import { Connection, type ConnectionOptions } from './connection.ts';
import { DirectTransport } from './direct-transport.ts';
import { Export, type ExportStats } from './export.ts';
import { FastLane } from './fast-lane.ts';
import type { ExportDirectory } from './handshake.ts';
import { SocketTransport } from './transport.ts';
import { MAX_STRING_BYTES } from './wire.ts';

/** sockaddr_un holds 108 bytes with the final zero; longer paths are cut silently below us. */
const MAX_SOCKET_PATH_BYTES = 107;
/** Each may cost some MiB of buffers. */
const MAX_CONNECTIONS = 64;

export interface ListenOptions {
  /** Permissions of the socket, 0o600 unless told otherwise: whoever may write to it has the disks. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

export type ServerOptions = ConnectionOptions;

/** Serves block devices over Unix sockets, on the thread that made it: the devices' thread. */
export class NbdServer implements AsyncDisposable, ExportDirectory<Export> {
  readonly #exports = new Map<string, Export>();
  readonly #servers = new Map<string, Server>();
  readonly #connections = new Set<Connection>();
  readonly #lane = new FastLane();
  readonly #options: ServerOptions;

  constructor(options: ServerOptions = {}) {
    this.#options = options;
  }

  /**
   * Offers a device under a name; the device stays the caller's.
   * @throws HvError `already-exists`, `invalid-argument`
   */
  addExport(name: string, device: BlockDevice): Export {
    if (Buffer.byteLength(name) > MAX_STRING_BYTES) {
      throw new HvError('invalid-argument', `an export's name holds at most ${MAX_STRING_BYTES} bytes`);
    }
    if (this.#exports.has(name)) {
      throw new HvError('already-exists', `an export named ${JSON.stringify(name)} exists already`);
    }
    const added = new Export(name, device);
    this.#exports.set(name, added);
    return added;
  }

  /** @throws HvError `not-found` */
  export(name: string): Export {
    const found = this.#exports.get(name);
    if (!found) throw new HvError('not-found', `no export is named ${JSON.stringify(name)}`);
    return found;
  }

  /** Ends its connections, after the requests in progress. Resolves when the device is no longer used. */
  async removeExport(name: string): Promise<void> {
    const removed = this.export(name);
    this.#exports.delete(name);
    await Promise.all([...removed.clients].map((client) => client.shutdown()));
    await removed.exclusively(() => {});
  }

  find(name: string): Export | undefined {
    const found = this.#exports.get(name);
    // The empty name asks for the default export; where there is only one, that is it.
    if (found || name !== '' || this.#exports.size !== 1) return found;
    return this.#exports.values().next().value;
  }

  list(): Iterable<Export> {
    return this.#exports.values();
  }

  stats(): Record<string, ExportStats> {
    return Object.fromEntries([...this.#exports].map(([name, { stats }]) => [name, { ...stats }]));
  }

  /**
   * Accepts connections. A socket that nobody listens on any more is replaced.
   * @throws HvError `in-use` (somebody listens there, or it is no socket), `invalid-argument`, `permission-denied`, `not-found`
   */
  async listen(socketPath: string, options: ListenOptions = {}): Promise<void> {
    if (Buffer.byteLength(socketPath) > MAX_SOCKET_PATH_BYTES || socketPath.includes('\0')) {
      throw new HvError('invalid-argument', `the socket's path is longer than ${MAX_SOCKET_PATH_BYTES} bytes`, {
        detail: { path: socketPath },
        hint: 'Choose a folder with a shorter path.',
      });
    }
    await removeStaleSocket(socketPath);
    const server = createServer((socket) => this.#accept(socket));
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(socketPath, () => {
          server.off('error', reject);
          resolve();
        });
      });
    } catch (error) {
      // Node calls a folder that is not there one without permission.
      if (!existsSync(dirname(socketPath))) {
        throw new HvError('not-found', `could not listen on ${socketPath}: its folder is not there`, {
          detail: { path: socketPath },
        });
      }
      throw fromSystemError(error, `could not listen on ${socketPath}`, { path: socketPath });
    }
    // Accepting fails while descriptors are used up; the ones who are connected are served on.
    server.on('error', () => {});
    try {
      // Until here the umask rules, which lets nobody else in.
      chmodSync(socketPath, options.mode ?? 0o600);
      if (options.uid !== undefined || options.gid !== undefined) {
        chownSync(socketPath, options.uid ?? -1, options.gid ?? -1);
      }
    } catch (error) {
      server.close();
      throw fromSystemError(error, `could not set the permissions of ${socketPath}`, { path: socketPath });
    }
    this.#servers.set(socketPath, server);
  }

  /** Ends all connections and listens no more; the devices stay open. Idempotent. */
  async close(): Promise<void> {
    const servers = [...this.#servers.values()];
    this.#servers.clear();
    const closings = servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
    await Promise.all([...this.#connections].map((connection) => connection.shutdown()));
    await Promise.all(closings);
    await Promise.all([...this.#exports.values()].map((served) => served.exclusively(() => {})));
    this.#exports.clear();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #accept(socket: Socket): void {
    if (this.#connections.size >= MAX_CONNECTIONS) {
      socket.destroy();
      return;
    }
    const direct = DirectSocket.of(socket);
    const connection: Connection = new Connection(
      direct ? new DirectTransport(socket, direct, this.#lane) : new SocketTransport(socket),
      this,
      () => this.#connections.delete(connection),
      this.#options,
    );
    this.#connections.add(connection);
  }
}

async function removeStaleSocket(path: string): Promise<void> {
  try {
    if (!lstatSync(path).isSocket()) {
      throw new HvError('in-use', `${path} exists and is no socket`, { detail: { path } });
    }
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return;
    throw fromSystemError(error, `could not look at ${path}`, { path });
  }
  if (await isListenedOn(path)) {
    throw new HvError('in-use', `another process listens on ${path}`, { detail: { path } });
  }
  try {
    unlinkSync(path);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT')) throw fromSystemError(error, `could not remove ${path}`, { path });
  }
}

function isListenedOn(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(true);
    });
    // Refused is the one answer that proves that nobody is there.
    probe.once('error', (error) => resolve(!isSystemError(error, 'ECONNREFUSED', 'ENOENT')));
  });
}
