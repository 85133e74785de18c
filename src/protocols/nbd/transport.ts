import type { Socket } from 'node:net';

/** What a connection needs from whatever carries its bytes; so that the state machines know no sockets. */
export interface Transport {
  /** Tells the listener from now on. Called once, before anything else. */
  listen(listener: TransportListener): void;
  /** Sends or queues the bytes. True: they were taken at once and the buffer may be used again. */
  send(bytes: Uint8Array): boolean;
  /** Bytes that were sent but not yet taken by the kernel. */
  pendingBytes(): number;
  pauseReading(): void;
  resumeReading(): void;
  /** Ends the connection after what was sent. */
  end(): void;
  /** Ends the connection at once. */
  destroy(): void;
}

/**
 * A transport's side of the conversation. A received chunk is the receiver's during the call, and beyond it when the call
 * paused the reading.
 */
export interface TransportListener {
  /** Answers are under way that only the event loop brings. */
  readonly isWaiting: boolean;
  /** For a while, requests have come one by one: the peer waits for replies, or its requests are large. */
  readonly isSequential: boolean;
  onReceive(chunk: Buffer): void;
  /** Everything that was sent has been taken. */
  onDrain(): void;
  onClose(): void;
}

/** Carries a connection over one of Node's stream sockets. */
export class SocketTransport implements Transport {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  listen(listener: TransportListener): void {
    this.#socket.on('data', (chunk: Buffer) => listener.onReceive(chunk));
    this.#socket.on('drain', () => listener.onDrain());
    // A peer that resets the connection is no failure of ours; 'close' follows.
    this.#socket.on('error', () => {});
    this.#socket.on('end', () => this.#socket.destroy());
    this.#socket.on('close', () => listener.onClose());
  }

  send(bytes: Uint8Array): boolean {
    if (this.#socket.destroyed) return true;
    this.#socket.write(bytes);
    // libuv tries the write at once; nothing stays queued when the kernel took all of it.
    return this.#socket.writableLength === 0;
  }

  pendingBytes(): number {
    return this.#socket.writableLength;
  }

  /** What was read from the socket and not given to the listener yet. */
  get unreadBytes(): number {
    return this.#socket.readableLength;
  }

  pauseReading(): void {
    this.#socket.pause();
  }

  resumeReading(): void {
    this.#socket.resume();
  }

  end(): void {
    this.#socket.end(() => this.#socket.destroy());
  }

  destroy(): void {
    this.#socket.destroy();
  }
}
