import type { Socket } from 'node:net';
import { type Deferred, deferred } from '../../async/index.ts';
import { HvError } from '../../errors/index.ts';
import { connectUnixSocket } from '../unix-socket.ts';
import {
  CLIENT_FLAGS_SIZE,
  Command,
  GREETING_SIZE,
  HandshakeFlag,
  InfoType,
  MAX_OPTION_BYTES,
  NbdErrno,
  OPTION_HEADER_SIZE,
  OPTION_MAGIC,
  OPTION_REPLY_HEADER_SIZE,
  OPTION_REPLY_MAGIC,
  Option,
  OptionReply,
  REQUEST_HEADER_SIZE,
  REQUEST_MAGIC,
  SIMPLE_REPLY_MAGIC,
  SIMPLE_REPLY_SIZE,
} from './wire.ts';

const MAX_EARLY_CHUNKS = 64;

/**
 * Reads an export of one of hv's own servers: one request at a time, replies in simple form. The server may run with
 * less privilege than this side, so that every length it says is checked.
 */
export class NbdReader implements AsyncDisposable {
  readonly #socket: Socket;
  readonly #name: string;
  /** What arrives is put into `target`; `wanted` bytes make it whole. */
  #target: Uint8Array = new Uint8Array(0);
  #filled = 0;
  #waiting: Deferred<void> | undefined;
  #early: Buffer[] = [];
  #failure: HvError | undefined;
  #cookie = 0n;
  #sizeBytes = 0;

  private constructor(socket: Socket, name: string) {
    this.#socket = socket;
    this.#name = name;
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#failure ??= new HvError('process-failed', `the server of the disk ${name} has ended`);
      this.#waiting?.reject(this.#failure);
    });
  }

  /** @throws HvError `not-found` (nobody listens, or no such export), `permission-denied`, `protocol`, `process-failed` */
  static async connect(socketPath: string, exportName: string): Promise<NbdReader> {
    const reader = new NbdReader(await connectUnixSocket(socketPath), exportName);
    try {
      await reader.#negotiate();
    } catch (error) {
      await reader.close();
      throw error;
    }
    return reader;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Fills target[0, length) from `offset`. Not to be called before an earlier call is over. @throws HvError `io`, `protocol`, `process-failed` */
  async read(offset: number, target: Uint8Array, length: number): Promise<void> {
    const cookie = ++this.#cookie;
    const request = Buffer.alloc(REQUEST_HEADER_SIZE);
    request.writeUInt32BE(REQUEST_MAGIC, 0);
    request.writeUInt16BE(Command.read, 6);
    request.writeBigUInt64BE(cookie, 8);
    request.writeBigUInt64BE(BigInt(offset), 16);
    request.writeUInt32BE(length, 24);
    this.#socket.write(request);
    const reply = await this.#receive(SIMPLE_REPLY_SIZE);
    if (reply.readUInt32BE(0) !== SIMPLE_REPLY_MAGIC || reply.readBigUInt64BE(8) !== cookie) throw this.#malformed();
    const error = reply.readUInt32BE(4);
    if (error !== NbdErrno.ok) {
      throw new HvError('io', `the server of the disk ${this.#name} could not read`, {
        detail: { offset, length, errnoNumber: error },
      });
    }
    await this.#receiveInto(target.subarray(0, length));
  }

  async close(): Promise<void> {
    this.#socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #negotiate(): Promise<void> {
    const greeting = await this.#receive(GREETING_SIZE);
    if (greeting.toString('latin1', 0, 16) !== 'NBDMAGICIHAVEOPT') throw this.#malformed();
    const flags = Buffer.alloc(CLIENT_FLAGS_SIZE);
    flags.writeUInt32BE(HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes, 0);
    const name = Buffer.from(this.#name);
    const option = Buffer.alloc(OPTION_HEADER_SIZE + 4 + name.length + 2);
    option.writeBigUInt64BE(OPTION_MAGIC, 0);
    option.writeUInt32BE(Option.go, 8);
    option.writeUInt32BE(4 + name.length + 2, 12);
    option.writeUInt32BE(name.length, OPTION_HEADER_SIZE);
    name.copy(option, OPTION_HEADER_SIZE + 4);
    this.#socket.write(Buffer.concat([flags, option]));
    for (;;) {
      const header = await this.#receive(OPTION_REPLY_HEADER_SIZE);
      if (header.readBigUInt64BE(0) !== OPTION_REPLY_MAGIC) throw this.#malformed();
      const type = header.readUInt32BE(12);
      const length = header.readUInt32BE(16);
      if (length > MAX_OPTION_BYTES) throw this.#malformed();
      const data = await this.#receive(length);
      if (type === OptionReply.ack) return;
      if (type === OptionReply.info && length >= 12 && data.readUInt16BE(0) === InfoType.export) {
        this.#sizeBytes = Number(data.readBigUInt64BE(2));
      } else if (type !== OptionReply.info) {
        throw new HvError('not-found', `the server has no export named ${JSON.stringify(this.#name)}`);
      }
    }
  }

  async #receive(length: number): Promise<Buffer> {
    const target = Buffer.alloc(length);
    await this.#receiveInto(target);
    return target;
  }

  async #receiveInto(target: Uint8Array): Promise<void> {
    if (target.length === 0) return;
    if (this.#failure) throw this.#failure;
    this.#target = target;
    this.#filled = 0;
    const waiting = deferred<void>();
    this.#waiting = waiting;
    const early = this.#early;
    this.#early = [];
    for (const chunk of early) this.#take(chunk);
    await waiting.promise;
  }

  #take(chunk: Buffer): void {
    const count = this.#waiting ? Math.min(chunk.length, this.#target.length - this.#filled) : 0;
    this.#target.set(chunk.subarray(0, count), this.#filled);
    this.#filled += count;
    if (count < chunk.length) {
      this.#early.push(chunk.subarray(count));
      // Nothing was asked for that would be so long.
      if (!this.#waiting && this.#early.length > MAX_EARLY_CHUNKS) {
        this.#failure ??= this.#malformed();
        this.#socket.destroy();
      }
    }
    if (this.#waiting && this.#filled === this.#target.length) {
      const waiting = this.#waiting;
      this.#waiting = undefined;
      waiting.resolve();
    }
  }

  #malformed(): HvError {
    return new HvError('protocol', `the server of the disk ${this.#name} sent what is not its protocol`);
  }
}
