import type { Transport } from './transport.ts';
import {
  CHUNK_FLAG_DONE,
  CHUNK_HEADER_SIZE,
  CHUNK_MAGIC,
  ChunkType,
  SIMPLE_REPLY_MAGIC,
  SIMPLE_REPLY_SIZE,
} from './wire.ts';

/** One buffer's worth goes out in one system call; more than a socket takes at once gains nothing. */
export const REPLY_BUFFER_BYTES = 256 * 1024;
/** Buffers that a connection keeps for reuse. */
const MAX_FREE_BUFFERS = 8;

/**
 * Where a connection's replies are written: header and data behind one another, sent once per batch of requests.
 * A reserved place must be filled before the next call.
 */
export class ReplyBuffer {
  readonly #transport: Transport;
  #buffer: Buffer = Buffer.allocUnsafeSlow(REPLY_BUFFER_BYTES);
  #used = 0;
  #free: Buffer[] = [];
  /** Still read by the transport. */
  #sent: Buffer[] = [];

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  get buffer(): Buffer {
    return this.#buffer;
  }

  /** Where the next byte goes, once there is room for `length` of them; `length` is at most REPLY_BUFFER_BYTES. */
  reserve(length: number): number {
    if (this.#used + length > REPLY_BUFFER_BYTES) this.flush();
    return this.#used;
  }

  commit(length: number): void {
    this.#used += length;
  }

  simple(cookieHigh: number, cookieLow: number, error: number): void {
    const at = this.reserve(SIMPLE_REPLY_SIZE);
    writeSimpleReply(this.#buffer, at, cookieHigh, cookieLow, error);
    this.#used += SIMPLE_REPLY_SIZE;
  }

  /** A chunk whose payload is empty or small and made by `fill(buffer, at)`. */
  chunk(
    flags: number,
    type: number,
    cookieHigh: number,
    cookieLow: number,
    payloadLength: number,
    fill?: (buffer: Buffer, at: number) => void,
  ): void {
    const at = this.reserve(CHUNK_HEADER_SIZE + payloadLength);
    writeChunkHeader(this.#buffer, at, flags, type, cookieHigh, cookieLow, payloadLength);
    fill?.(this.#buffer, at + CHUNK_HEADER_SIZE);
    this.#used += CHUNK_HEADER_SIZE + payloadLength;
  }

  /** Ends a structured reply: error chunk (u32 error, u16 message length) when there is one, else an empty chunk. */
  done(cookieHigh: number, cookieLow: number, error: number): void {
    if (error === 0) this.chunk(CHUNK_FLAG_DONE, ChunkType.none, cookieHigh, cookieLow, 0);
    else
      this.chunk(CHUNK_FLAG_DONE, ChunkType.error, cookieHigh, cookieLow, 6, (buffer, at) => {
        buffer.writeUInt32BE(error, at);
        buffer.writeUInt16BE(0, at + 4);
      });
  }

  /** Sends bytes that lie in a buffer of their own, after everything written here. The buffer is given away. */
  sendOwn(bytes: Uint8Array): void {
    this.flush();
    this.#transport.send(bytes);
  }

  flush(): void {
    if (this.#used === 0) return;
    const full = this.#buffer;
    const bytes = full.subarray(0, this.#used);
    this.#used = 0;
    if (this.#transport.send(bytes)) {
      // Sent in order: when these bytes are out, all before them are.
      this.drained();
      return;
    }
    this.#sent.push(full);
    this.#buffer = this.#free.pop() ?? Buffer.allocUnsafeSlow(REPLY_BUFFER_BYTES);
  }

  /** The transport holds none of the buffers any more. */
  drained(): void {
    while (this.#sent.length > 0) {
      const buffer = this.#sent.pop();
      if (buffer && this.#free.length < MAX_FREE_BUFFERS) this.#free.push(buffer);
    }
  }
}

export function writeSimpleReply(buffer: Buffer, at: number, cookieHigh: number, cookieLow: number, error: number) {
  buffer.writeUInt32BE(SIMPLE_REPLY_MAGIC, at);
  buffer.writeUInt32BE(error, at + 4);
  buffer.writeUInt32BE(cookieHigh, at + 8);
  buffer.writeUInt32BE(cookieLow, at + 12);
}

export function writeChunkHeader(
  buffer: Buffer,
  at: number,
  flags: number,
  type: number,
  cookieHigh: number,
  cookieLow: number,
  payloadLength: number,
): void {
  buffer.writeUInt32BE(CHUNK_MAGIC, at);
  buffer.writeUInt32BE(flags * 0x10000 + type, at + 4);
  buffer.writeUInt32BE(cookieHigh, at + 8);
  buffer.writeUInt32BE(cookieLow, at + 12);
  buffer.writeUInt32BE(payloadLength, at + 16);
}
