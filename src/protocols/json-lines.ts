import type { Duplex } from 'node:stream';
import { abortedError, type Deferred, deferred } from '../async/index.ts';
import { fromSystemError, HvError } from '../errors/index.ts';

/**
 * One UTF-8 JSON object a line: the framing of QMP, of the guest agent, and of hv's own control sockets. The peer is
 * hostile: every length is bounded before anything is allocated for it, and nothing throws out of a stream's events.
 */
export type JsonObject = Readonly<Record<string, unknown>>;

export interface JsonLineLimits {
  /** Longest line without its line feed. Default 4 MiB. */
  readonly maxLineBytes?: number | undefined;
  /** Deepest nesting of arrays and objects in one line. Default 128. */
  readonly maxDepth?: number | undefined;
  /** Most values in one line: a 4 MiB line of `{}` would grow to a hundred times its size. Default 500,000. */
  readonly maxValues?: number | undefined;
}

const DEFAULT_MAX_LINE_BYTES = 4 * 2 ** 20;
const DEFAULT_MAX_DEPTH = 128;
const DEFAULT_MAX_VALUES = 500_000;
const FIRST_BUFFER_BYTES = 4096;
const KEPT_BUFFER_BYTES = 64 * 1024;
const LINE_FEED = 0x0a;

/** Splits a byte stream into JSON objects. After a failure it stays failed until `reset()`. */
export class JsonLineDecoder {
  readonly #maxLineBytes: number;
  readonly #maxDepth: number;
  readonly #maxValues: number;
  readonly #utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  /** The unfinished line lies in the first `#partBytes` bytes. One growing buffer: a peer may send single bytes. */
  #part = Buffer.alloc(0);
  #partBytes = 0;
  #failure: HvError | undefined;

  constructor(limits: JsonLineLimits = {}) {
    this.#maxLineBytes = limits.maxLineBytes ?? DEFAULT_MAX_LINE_BYTES;
    this.#maxDepth = limits.maxDepth ?? DEFAULT_MAX_DEPTH;
    this.#maxValues = limits.maxValues ?? DEFAULT_MAX_VALUES;
  }

  /** How many bytes of an unfinished line are held. */
  get pendingBytes(): number {
    return this.#partBytes;
  }

  /**
   * Takes the next bytes and hands out each finished line's object with the line's length in bytes. Empty lines are
   * passed over; a carriage return before the line feed is JSON white space.
   *
   * @throws HvError `protocol` for a line that is too long, not UTF-8, not JSON, not an object, or too deep
   */
  push(chunk: Uint8Array, onObject: (value: JsonObject, lineBytes: number) => void): void {
    if (this.#failure) throw this.#failure;
    try {
      let start = 0;
      while (start < chunk.length) {
        const end = chunk.indexOf(LINE_FEED, start);
        const stop = end === -1 ? chunk.length : end;
        const lineBytes = this.#partBytes + (stop - start);
        if (lineBytes > this.#maxLineBytes) {
          throw new HvError('protocol', `a line is longer than ${this.#maxLineBytes} bytes`, {
            detail: { maxLineBytes: this.#maxLineBytes },
          });
        }
        if (end === -1) {
          this.#keep(chunk.subarray(start, stop));
          return;
        }
        let line = chunk.subarray(start, stop);
        if (this.#partBytes > 0) {
          this.#keep(line);
          line = this.#part.subarray(0, this.#partBytes);
        }
        const value = this.#decode(line);
        this.#partBytes = 0;
        if (this.#part.length > KEPT_BUFFER_BYTES) this.#part = Buffer.alloc(0);
        start = stop + 1;
        if (value) onObject(value, lineBytes);
      }
    } catch (error) {
      this.#failure =
        error instanceof HvError ? error : new HvError('internal', 'a line was refused', { cause: error });
      this.#part = Buffer.alloc(0);
      this.#partBytes = 0;
      throw this.#failure;
    }
  }

  /** Forgets the unfinished line and any failure: the next byte starts a line. */
  reset(): void {
    this.#failure = undefined;
    this.#partBytes = 0;
  }

  #keep(bytes: Uint8Array): void {
    const needed = this.#partBytes + bytes.length;
    if (needed > this.#part.length) {
      const grown = Buffer.alloc(
        Math.max(FIRST_BUFFER_BYTES, needed, Math.min(this.#part.length * 2, this.#maxLineBytes)),
      );
      this.#part.copy(grown, 0, 0, this.#partBytes);
      this.#part = grown;
    }
    this.#part.set(bytes, this.#partBytes);
    this.#partBytes = needed;
  }

  #decode(line: Uint8Array): JsonObject | undefined {
    if (line.length === 0) return undefined;
    let text: string;
    try {
      text = this.#utf8.decode(line);
    } catch (error) {
      throw new HvError('protocol', 'a line is not valid UTF-8', { detail: { lineBytes: line.length }, cause: error });
    }
    // Before the parser, whose refusal would cost a thousand times more: a peer may send nothing but empty lines.
    if (text.trim() === '') return undefined;
    if (text.length > this.#maxDepth) this.#bound(text);
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      throw new HvError('protocol', 'a line is not JSON', { detail: { lineBytes: line.length }, cause: error });
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new HvError('protocol', 'a line is JSON but not an object', { detail: { lineBytes: line.length } });
    }
    return value as JsonObject; // an object that JSON.parse made has string keys and unknown values
  }

  /** Counts nesting and values before the parser allocates them. */
  #bound(text: string): void {
    let depth = 0;
    let values = 0;
    let inString = false;
    for (let at = 0; at < text.length; at++) {
      const unit = text.charCodeAt(at);
      if (inString) {
        if (unit === 0x5c) at++;
        else if (unit === 0x22) inString = false;
      } else if (unit === 0x22) {
        inString = true;
      } else if (unit === 0x7b || unit === 0x5b) {
        depth++;
        values++;
        if (depth > this.#maxDepth) {
          throw new HvError('protocol', `a line nests deeper than ${this.#maxDepth}`, {
            detail: { maxDepth: this.#maxDepth },
          });
        }
      } else if (unit === 0x7d || unit === 0x5d) {
        depth--;
      } else if (unit === 0x2c) {
        values++;
      }
    }
    if (values > this.#maxValues) {
      throw new HvError('protocol', `a line holds more than ${this.#maxValues} values`, {
        detail: { maxValues: this.#maxValues },
      });
    }
  }
}

/** One object as one line. JSON escapes every line feed inside strings, so the line feed at the end is the only one. */
export function encodeJsonLine(value: JsonObject): Buffer {
  return Buffer.from(`${JSON.stringify(value)}\n`, 'utf8');
}

export interface JsonLineChannelOptions extends JsonLineLimits {
  /** Names the peer in messages: "the monitor of web1". */
  readonly peer?: string | undefined;
  /** Reading pauses while this many received objects wait. Default 256. */
  readonly maxQueuedObjects?: number | undefined;
  /** Reading pauses while received lines of this total length wait. Default 8 MiB. */
  readonly maxQueuedBytes?: number | undefined;
  /** A peer that leaves this much unread is cut off. Default 16 MiB. */
  readonly maxUnsentBytes?: number | undefined;
}

const CLOSE_GRACE_MS = 1000;

/**
 * JSON lines over a socket, pulled by one consumer. A peer that talks faster than the consumer listens is held back by
 * the kernel (the socket is paused), so memory stays at the limits plus what one read brings.
 */
export class JsonLineChannel implements AsyncDisposable {
  /** Resolves when the socket is gone, for whatever reason; never rejects. */
  readonly closed: Promise<void>;
  readonly #stream: Duplex;
  readonly #peer: string;
  readonly #decoder: JsonLineDecoder;
  readonly #maxQueuedObjects: number;
  readonly #maxQueuedBytes: number;
  readonly #maxUnsentBytes: number;
  readonly #closed: Deferred<void> = deferred();
  #queue: { readonly value: JsonObject; readonly lineBytes: number }[] = [];
  #queueHead = 0;
  #queuedBytes = 0;
  #waiter: Deferred<JsonObject | undefined> | undefined;
  /** Shared by every sender that waits; resolved by the drain and by the end. */
  #drained: Deferred<void> | undefined;
  #failure: HvError | undefined;
  #ended = false;
  #isGone = false;

  /** Takes the stream over: from here on only the channel touches it. */
  constructor(stream: Duplex, options: JsonLineChannelOptions = {}) {
    this.#stream = stream;
    this.#peer = options.peer ?? 'the peer';
    this.#decoder = new JsonLineDecoder(options);
    this.#maxQueuedObjects = options.maxQueuedObjects ?? 256;
    this.#maxQueuedBytes = options.maxQueuedBytes ?? 8 * 2 ** 20;
    this.#maxUnsentBytes = options.maxUnsentBytes ?? 16 * 2 ** 20;
    this.closed = this.#closed.promise;
    stream.on('error', (error) => this.#fail(fromSystemError(error, `talking to ${this.#peer}`)));
    stream.on('end', () => this.#onEnd());
    stream.on('drain', () => this.#onDrain());
    stream.on('close', () => this.#onClose());
    stream.on('data', (chunk: Buffer) => this.#onData(chunk));
    if (stream.destroyed) this.#onClose();
  }

  /** Why the channel broke; undefined while it works and after an ordinary end. */
  get failure(): HvError | undefined {
    return this.#failure;
  }

  /** How many received objects wait for `receive`. */
  get queuedObjects(): number {
    return this.#queue.length - this.#queueHead;
  }

  /**
   * The next object, or undefined after the peer's ordinary end. One call at a time. An abort stops the waiting and
   * loses nothing.
   *
   * @throws HvError `protocol` (hostile bytes), `io` (the socket failed), `aborted`
   */
  receive(options: { signal?: AbortSignal | undefined } = {}): Promise<JsonObject | undefined> {
    const { signal } = options;
    if (signal?.aborted) return Promise.reject(abortedError(signal, `waiting for ${this.#peer}`));
    const next = this.#queue[this.#queueHead];
    if (next) {
      this.#queueHead++;
      this.#queuedBytes -= next.lineBytes;
      if (this.#queueHead * 2 >= this.#queue.length) {
        this.#queue.splice(0, this.#queueHead);
        this.#queueHead = 0;
      }
      if (!this.#isFull() && this.#stream.isPaused()) this.#stream.resume();
      return Promise.resolve(next.value);
    }
    if (this.#failure) return Promise.reject(this.#failure);
    if (this.#ended) return Promise.resolve(undefined);
    if (this.#waiter) return Promise.reject(new HvError('internal', 'two receive() at the same time'));
    const waiter = deferred<JsonObject | undefined>();
    this.#waiter = waiter;
    if (!signal) return waiter.promise;
    const onAbort = (): void => {
      if (this.#waiter === waiter) this.#waiter = undefined;
      waiter.reject(abortedError(signal, `waiting for ${this.#peer}`));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    return waiter.promise.finally(() => signal.removeEventListener('abort', onAbort));
  }

  /** Every object until the peer's end; fails as `receive` does. */
  async *[Symbol.asyncIterator](): AsyncGenerator<JsonObject, void, undefined> {
    for (;;) {
      const value = await this.receive();
      if (value === undefined) return;
      yield value;
    }
  }

  /**
   * Sends one object; resolves once the stream takes more. Objects leave in the order of the calls.
   *
   * @throws HvError `io` when the channel is closed, `protocol` when the peer reads nothing, or the channel's failure
   */
  async send(value: JsonObject): Promise<void> {
    const line = encodeJsonLine(value);
    if (this.#failure) throw this.#failure;
    if (this.#isGone || this.#stream.writableEnded || this.#stream.destroyed) throw this.#closedError();
    if (this.#stream.writableLength + line.length > this.#maxUnsentBytes) {
      const failure = new HvError('protocol', `${this.#peer} does not read what it is sent`, {
        detail: { unsentBytes: this.#stream.writableLength },
      });
      this.#fail(failure);
      throw failure;
    }
    if (this.#stream.write(line)) return;
    this.#drained ??= deferred();
    await this.#drained.promise;
    if (this.#failure) throw this.#failure;
    if (this.#isGone) throw this.#closedError();
  }

  /** Ends the channel because its consumer found the peer at fault; everything waiting fails with `failure`. */
  fail(failure: HvError): void {
    this.#fail(failure);
  }

  /** Sends what is still buffered, then closes; after one second without the peer taking it, cuts. Idempotent. */
  async close(): Promise<void> {
    if (!this.#isGone) {
      const timer = setTimeout(() => this.#stream.destroy(), CLOSE_GRACE_MS);
      this.#stream.end(() => this.#stream.destroy());
      // What still arrives is dropped, so that the end is seen.
      this.#ended = true;
      this.#stream.resume();
      await this.closed;
      clearTimeout(timer);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #closedError(): HvError {
    return new HvError('io', `the connection to ${this.#peer} is closed`);
  }

  #isFull(): boolean {
    return this.queuedObjects >= this.#maxQueuedObjects || this.#queuedBytes >= this.#maxQueuedBytes;
  }

  #onData(chunk: Buffer): void {
    if (this.#failure || this.#ended) return;
    try {
      this.#decoder.push(chunk, (value, lineBytes) => this.#offer(value, lineBytes));
    } catch (error) {
      this.#fail(
        new HvError('protocol', `${this.#peer} sent what is not the protocol`, {
          detail: { reason: error instanceof Error ? error.message : String(error) },
          cause: error,
        }),
      );
      return;
    }
    if (this.#isFull()) this.#stream.pause();
  }

  #offer(value: JsonObject, lineBytes: number): void {
    const waiter = this.#waiter;
    if (waiter) {
      this.#waiter = undefined;
      waiter.resolve(value);
      return;
    }
    this.#queue.push({ value, lineBytes });
    this.#queuedBytes += lineBytes;
  }

  #onEnd(): void {
    if (this.#ended || this.#failure) return;
    if (this.#decoder.pendingBytes > 0) {
      this.#fail(
        new HvError('protocol', `${this.#peer} ended inside a line`, {
          detail: { pendingBytes: this.#decoder.pendingBytes },
        }),
      );
      return;
    }
    this.#ended = true;
    this.#waiter?.resolve(undefined);
    this.#waiter = undefined;
    // The other half is closed too: a peer that no longer talks is not served.
    this.#stream.end();
  }

  #onClose(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#ended = true;
    if (this.#failure) this.#waiter?.reject(this.#failure);
    else this.#waiter?.resolve(undefined);
    this.#waiter = undefined;
    this.#onDrain();
    this.#closed.resolve();
  }

  #onDrain(): void {
    this.#drained?.resolve();
    this.#drained = undefined;
  }

  #fail(failure: HvError): void {
    if (!this.#failure && !this.#isGone) {
      this.#failure = failure;
      this.#waiter?.reject(failure);
      this.#waiter = undefined;
    }
    this.#stream.destroy();
  }
}
