import { rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { fromSystemError, HvError } from '../../../errors/index.ts';
import { JsonLineChannel } from '../../../protocols/qmp/index.ts';
import { peerCredentials } from '../../../system/index.ts';

export interface Connection {
  send(value: Readonly<Record<string, unknown>>): Promise<void>;
  readonly closed: Promise<void>;
}

export interface ControlServerOptions {
  readonly socketPath: string;
  readonly peer: string;
  /** Users that may give orders beside root. */
  readonly allowedUids: readonly number[];
  onMessage(connection: Connection, message: Readonly<Record<string, unknown>>): Promise<void>;
  onConnect?(connection: Connection): void;
}

const MAX_LINE_BYTES = 1024 * 1024;

/** Listens for orders on a Unix socket: who asks is told by the kernel, lines are bounded, one message at a time per peer. */
export class ControlServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
  }

  static async listen(options: ControlServerOptions): Promise<ControlServer> {
    await rm(options.socketPath, { force: true });
    const server = createServer();
    // Accepting fails while descriptors are used up; those who are connected are served on.
    server.on('error', () => {});
    const control = new ControlServer(server);
    server.on('connection', (socket) => control.#serve(socket, options));
    const before = process.umask(0o177);
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(options.socketPath, () => resolve());
      });
    } catch (error) {
      throw fromSystemError(error, `cannot listen on ${options.socketPath}`, { path: options.socketPath });
    } finally {
      process.umask(before);
    }
    return control;
  }

  /** Takes no new peer and removes the socket; those who are connected stay. */
  stopListening(): void {
    if (this.#server.listening) this.#server.close();
  }

  #serve(socket: Socket, options: ControlServerOptions): void {
    const credentials = peerCredentials(socket);
    // Without FFI the kernel cannot be asked; the folder's mode is the guard then.
    if (credentials && credentials.uid !== 0 && !options.allowedUids.includes(credentials.uid)) {
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    const channel = new JsonLineChannel(socket, { peer: options.peer, maxLineBytes: MAX_LINE_BYTES });
    const connection: Connection = {
      closed: channel.closed,
      send: async (value) => {
        try {
          await channel.send(value);
        } catch (error) {
          if (!(error instanceof HvError)) throw error; // a peer that left wants no answer
        }
      },
    };
    options.onConnect?.(connection);
    void this.#read(channel, connection, options).finally(() => {
      this.#sockets.delete(socket);
      socket.destroy();
    });
  }

  async #read(channel: JsonLineChannel, connection: Connection, options: ControlServerOptions): Promise<void> {
    try {
      for await (const message of channel) await options.onMessage(connection, message);
    } catch (error) {
      if (!(error instanceof HvError)) throw error; // a broken peer loses its connection, nothing else
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
