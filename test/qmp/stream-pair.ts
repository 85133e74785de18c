import { Duplex } from 'node:stream';

/** One end of a connection inside the process, with a socket's back pressure and a socket's ends. */
class StreamEnd extends Duplex {
  peer: StreamEnd | undefined;
  #resume: (() => void) | undefined;

  constructor() {
    super({ allowHalfOpen: false, readableHighWaterMark: 16 * 1024, writableHighWaterMark: 16 * 1024 });
  }

  override _read(): void {
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const { peer } = this;
    if (!peer || peer.destroyed) done();
    else if (peer.push(chunk)) done();
    else peer.#resume = done;
  }

  override _final(done: () => void): void {
    this.peer?.push(null);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const { peer } = this;
    if (peer && !peer.destroyed && !peer.readableEnded) peer.push(null);
    this.#resume?.();
    done(error);
  }
}

/** Two streams that are each other's peer. */
export function streamPair(): [Duplex, Duplex] {
  const [left, right] = [new StreamEnd(), new StreamEnd()];
  left.peer = right;
  right.peer = left;
  return [left, right];
}
