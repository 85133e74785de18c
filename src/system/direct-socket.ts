import type { Socket } from 'node:net';
import { type Libc, nativeLibc } from '../native/index.ts';
import { descriptorOf } from './socket-descriptor.ts';

/**
 * Sends and receives on the descriptor of one of Node's sockets, beside its stream and without waiting. The stream stays
 * the owner: it watches the socket, hears of its end and closes it. Send only while nothing is queued in the stream.
 */
export class DirectSocket {
  readonly #socket: Socket;
  readonly #libc: Libc;
  readonly #fd: number;

  private constructor(socket: Socket, libc: Libc, fd: number) {
    this.#socket = socket;
    this.#libc = libc;
    this.#fd = fd;
  }

  /** Undefined where there is no FFI, and for a socket that is closed. */
  static of(socket: Socket): DirectSocket | undefined {
    const libc = nativeLibc();
    const fd = descriptorOf(socket);
    return libc && fd !== undefined ? new DirectSocket(socket, libc, fd) : undefined;
  }

  /** -1 once the socket is closed, which poll(2) passes over. */
  get descriptor(): number {
    return this.#socket.destroyed ? -1 : this.#fd;
  }

  /** Lets so many bytes be under way to the peer; less where the system's limit is lower. */
  allowUnderWay(bytes: number): void {
    if (!this.#socket.destroyed) this.#libc.setSendBuffer(this.#fd, bytes);
  }

  /** How many of the bytes the kernel took; 0 as well when the connection is broken, which the stream will tell. */
  send(bytes: Uint8Array): number {
    // The number may belong to another file as soon as the socket is closed.
    if (this.#socket.destroyed) return 0;
    return Math.max(0, this.#libc.send(this.#fd, bytes, 0, bytes.length));
  }

  /** Fills the target from its start: how many bytes; 0 when nothing is there, or an end or a failure that the stream will tell. */
  receive(target: Uint8Array): number {
    if (this.#socket.destroyed) return 0;
    return Math.max(0, this.#libc.receive(this.#fd, target, 0, target.length));
  }
}

/** Waits, blocking this thread, until some of the sockets have something to receive. */
export class ReadableWait {
  readonly #fds: number[] = [];
  readonly #ready: boolean[] = [];

  /**
   * @returns false when the time is up; else isReady() tells of each, by its index, whether it has something or an end
   *   to tell
   */
  wait(sockets: readonly DirectSocket[], timeoutMs: number): boolean {
    this.#fds.length = 0;
    for (const socket of sockets) this.#fds.push(socket.descriptor);
    return (nativeLibc()?.awaitReadable(this.#fds, this.#ready, timeoutMs) ?? 0) > 0;
  }

  isReady(index: number): boolean {
    return this.#ready[index] === true;
  }
}
