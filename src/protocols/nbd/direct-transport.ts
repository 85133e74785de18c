import type { Socket } from 'node:net';
import type { DirectSocket } from '../../system/index.ts';
import type { FastLane, LaneMember } from './fast-lane.ts';
import { SocketTransport, type Transport, type TransportListener } from './transport.ts';

/** Several replies' worth, so that reading the next overlaps with the peer's taking of the last. */
const SEND_BUFFER_BYTES = 1024 * 1024;
/** What libuv reads at once. */
const STREAM_CHUNK_BYTES = 64 * 1024;
/** More than a Unix socket holds. */
const RECEIVE_BYTES = 512 * 1024;

/**
 * Carries a connection over one of Node's sockets, past its stream where nothing is lost by it: bytes are sent directly
 * while none are queued, and received directly while they keep coming. Everything else is the stream's.
 */
export class DirectTransport implements Transport, TransportListener, LaneMember {
  readonly #stream: SocketTransport;
  readonly direct: DirectSocket;
  readonly #lane: FastLane;
  #listener: TransportListener | undefined;
  #received: Buffer | undefined;
  #isPaused = false;

  constructor(socket: Socket, direct: DirectSocket, lane: FastLane) {
    this.#stream = new SocketTransport(socket);
    this.direct = direct;
    this.#lane = lane;
    direct.allowUnderWay(SEND_BUFFER_BYTES);
  }

  listen(listener: TransportListener): void {
    this.#listener = listener;
    this.#lane.add(this);
    this.#stream.listen(this);
  }

  onReceive(chunk: Buffer): void {
    this.#listener?.onReceive(chunk);
    // The stream reads little at a time; of what is too much for it, the rest comes at once.
    if (chunk.length >= STREAM_CHUNK_BYTES) this.serve();
    this.#lane.heardFrom(this);
  }

  get isSequential(): boolean {
    return this.#listener?.isSequential === true;
  }

  onDrain(): void {
    this.#listener?.onDrain();
  }

  onClose(): void {
    this.#lane.remove(this);
    this.#listener?.onClose();
  }

  get isWaiting(): boolean {
    const { unreadBytes } = this.#stream;
    return this.#isPaused || unreadBytes > 0 || this.pendingBytes() > 0 || this.#listener?.isWaiting === true;
  }

  serve(): boolean {
    // What the stream has read comes first: a paused one goes on reading until its buffer is full.
    if (this.#isPaused || this.#stream.unreadBytes > 0) return false;
    this.#received ??= Buffer.allocUnsafeSlow(RECEIVE_BYTES);
    const length = this.direct.receive(this.#received);
    if (length <= 0) return false;
    this.#listener?.onReceive(this.#received.subarray(0, length));
    return true;
  }

  send(bytes: Uint8Array): boolean {
    if (this.#stream.pendingBytes() > 0) return this.#stream.send(bytes);
    const sent = this.direct.send(bytes);
    return sent === bytes.length || this.#stream.send(bytes.subarray(sent));
  }

  pendingBytes(): number {
    return this.#stream.pendingBytes();
  }

  pauseReading(): void {
    this.#isPaused = true;
    // What was received is the listener's until it goes on.
    this.#received = undefined;
    this.#stream.pauseReading();
  }

  resumeReading(): void {
    this.#isPaused = false;
    this.#stream.resumeReading();
  }

  end(): void {
    this.#stream.end();
  }

  destroy(): void {
    this.#stream.destroy();
  }
}
