import { connect, type Socket } from 'node:net';
import {
  CHUNK_FLAG_DONE,
  CHUNK_HEADER_SIZE,
  CHUNK_MAGIC,
  ChunkType,
  Command,
  OPTION_MAGIC,
  OPTION_REPLY_HEADER_SIZE,
  OPTION_REPLY_MAGIC,
  Option,
  OptionReply,
  REQUEST_MAGIC,
  SIMPLE_REPLY_MAGIC,
  SIMPLE_REPLY_SIZE,
} from '../../src/protocols/nbd/wire.ts';

export interface Reply {
  readonly error: number;
  /** Of a read: its bytes, holes filled in. */
  readonly data: Buffer;
  readonly chunkTypes: readonly number[];
  /** Of a block status: pairs of length and flags. */
  readonly extents: readonly { readonly length: number; readonly flags: number }[];
}

export interface OptionAnswer {
  readonly type: number;
  readonly data: Buffer;
}

export interface ConnectOptions {
  readonly name?: string;
  /** Default true. */
  readonly structured?: boolean;
  /** Default as `structured`. */
  readonly baseAllocation?: boolean;
}

interface Pending {
  readonly length: number;
  readonly offset: number;
  readonly data: Buffer;
  readonly chunkTypes: number[];
  readonly extents: { length: number; flags: number }[];
  error: number;
  resolve(reply: Reply): void;
  reject(error: Error): void;
}

/** A strict client that checks everything a reply must hold to. Requests may overlap freely. */
export class TestClient {
  readonly socket: Socket;
  #buffered: Buffer = Buffer.alloc(0);
  #wake: (() => void) | undefined;
  #ended = false;
  #pending = new Map<number, Pending>();
  #nextCookie = 1;
  #inTransmission = false;
  #structured = false;
  readonly closed: Promise<void>;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#buffered = this.#buffered.length === 0 ? chunk : Buffer.concat([this.#buffered, chunk]);
      if (this.#inTransmission) this.#parseReplies();
      else this.#wake?.();
    });
    socket.on('error', () => {});
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.#ended = true;
        this.#wake?.();
        for (const pending of this.#pending.values()) pending.reject(new Error('the connection ended'));
        this.#pending.clear();
        resolve();
      });
    });
  }

  /** Connects and reads the greeting, no more. */
  static async open(path: string, clientFlags = 3): Promise<TestClient> {
    const socket = connect(path);
    const client = new TestClient(socket);
    const greeting = await client.take(18);
    if (greeting.toString('latin1', 0, 16) !== 'NBDMAGICIHAVEOPT') throw new Error('no greeting');
    const flags = Buffer.alloc(4);
    flags.writeUInt32BE(clientFlags, 0);
    socket.write(flags);
    return client;
  }

  static async connect(path: string, options: ConnectOptions = {}): Promise<TestClient> {
    const client = await TestClient.open(path);
    const { name = '', structured = true, baseAllocation = structured } = options;
    if (structured) await client.expectAck(Option.structuredReply, Buffer.alloc(0));
    if (baseAllocation) await client.expectAck(Option.setMetaContext, metaContextData(name, ['base:allocation']));
    await client.expectAck(Option.go, goData(name));
    client.enterTransmission(structured);
    return client;
  }

  enterTransmission(structured: boolean): void {
    this.#structured = structured;
    this.#inTransmission = true;
    this.#parseReplies();
  }

  /** The next bytes during negotiation; rejects when the server hangs up first. */
  async take(length: number): Promise<Buffer> {
    while (this.#buffered.length < length) {
      if (this.#ended) throw new Error('the connection ended');
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const taken = this.#buffered.subarray(0, length);
    this.#buffered = this.#buffered.subarray(length);
    return taken;
  }

  sendOption(option: number, data: Buffer): void {
    this.socket.write(encodeOption(option, data));
  }

  /** Sends an option and collects its replies up to the one that ends them. */
  async option(option: number, data: Buffer): Promise<OptionAnswer[]> {
    this.sendOption(option, data);
    const answers: OptionAnswer[] = [];
    for (;;) {
      const header = await this.take(OPTION_REPLY_HEADER_SIZE);
      if (header.readBigUInt64BE(0) !== OPTION_REPLY_MAGIC) throw new Error('bad option reply magic');
      if (header.readUInt32BE(8) !== option) throw new Error('reply to another option');
      const type = header.readUInt32BE(12);
      const payload = await this.take(header.readUInt32BE(16));
      answers.push({ type, data: payload });
      if (type === OptionReply.ack || type >= 0x80000000) return answers;
    }
  }

  async expectAck(option: number, data: Buffer): Promise<OptionAnswer[]> {
    const answers = await this.option(option, data);
    if (answers.at(-1)?.type !== OptionReply.ack) throw new Error(`option ${option} was refused`);
    return answers;
  }

  read(offset: number, length: number, flags = 0): Promise<Reply> {
    return this.request(Command.read, flags, offset, length);
  }

  write(offset: number, payload: Buffer, flags = 0): Promise<Reply> {
    return this.request(Command.write, flags, offset, payload.length, payload);
  }

  request(command: number, flags: number, offset: number, length: number, payload?: Buffer): Promise<Reply> {
    const cookie = this.#nextCookie++;
    this.socket.write(encodeRequest(command, flags, cookie, offset, length));
    if (payload) this.socket.write(payload);
    return new Promise((resolve, reject) => {
      if (this.#ended) {
        reject(new Error('the connection ended'));
        return;
      }
      this.#pending.set(cookie, {
        length,
        offset,
        data: command === Command.read ? Buffer.alloc(length, 0xee) : Buffer.alloc(0),
        chunkTypes: [],
        extents: [],
        error: 0,
        resolve,
        reject,
      });
    });
  }

  async disconnect(): Promise<void> {
    this.socket.write(encodeRequest(Command.disconnect, 0, 0, 0, 0));
    await this.closed;
  }

  kill(): void {
    this.socket.destroy();
  }

  #parseReplies(): void {
    try {
      while (this.#parseReply());
    } catch (error) {
      this.socket.destroy();
      for (const pending of this.#pending.values()) pending.reject(error as Error);
      this.#pending.clear();
    }
  }

  #parseReply(): boolean {
    const input = this.#buffered;
    if (input.length < 4) return false;
    const magic = input.readUInt32BE(0);
    if (magic === SIMPLE_REPLY_MAGIC) {
      if (input.length < SIMPLE_REPLY_SIZE) return false;
      const { cookie, pending } = this.#find(input.readBigUInt64BE(8));
      const error = input.readUInt32BE(4);
      const dataLength = error === 0 ? pending.data.length : 0;
      if (dataLength > 0 && this.#structured)
        throw new Error('simple reply to a read after structured ones were agreed');
      if (input.length < SIMPLE_REPLY_SIZE + dataLength) return false;
      input.copy(pending.data, 0, SIMPLE_REPLY_SIZE, SIMPLE_REPLY_SIZE + dataLength);
      this.#buffered = input.subarray(SIMPLE_REPLY_SIZE + dataLength);
      pending.error = error;
      this.#finish(cookie, pending);
      return true;
    }
    if (magic !== CHUNK_MAGIC) throw new Error(`bad reply magic ${magic.toString(16)}`);
    if (!this.#structured) throw new Error('structured reply without agreement');
    if (input.length < CHUNK_HEADER_SIZE) return false;
    const length = input.readUInt32BE(16);
    if (input.length < CHUNK_HEADER_SIZE + length) return false;
    const flags = input.readUInt16BE(4);
    const type = input.readUInt16BE(6);
    const { cookie, pending } = this.#find(input.readBigUInt64BE(8));
    const payload = input.subarray(CHUNK_HEADER_SIZE, CHUNK_HEADER_SIZE + length);
    this.#buffered = input.subarray(CHUNK_HEADER_SIZE + length);
    pending.chunkTypes.push(type);
    applyChunk(pending, type, payload);
    if ((flags & CHUNK_FLAG_DONE) !== 0) this.#finish(cookie, pending);
    return true;
  }

  #find(wireCookie: bigint): { readonly cookie: number; readonly pending: Pending } {
    const cookie = Number(wireCookie);
    const pending = this.#pending.get(cookie);
    if (!pending) throw new Error(`reply to no request: ${cookie}`);
    return { cookie, pending };
  }

  #finish(cookie: number, pending: Pending): void {
    this.#pending.delete(cookie);
    const { error, data, chunkTypes, extents } = pending;
    pending.resolve({ error, data, chunkTypes, extents });
  }
}

function applyChunk(pending: Pending, type: number, payload: Buffer): void {
  switch (type) {
    case ChunkType.none:
      return;
    case ChunkType.offsetData: {
      const at = Number(payload.readBigUInt64BE(0)) - pending.offset;
      if (at < 0 || payload.length <= 8 || at + payload.length - 8 > pending.length) throw new Error('data outside');
      payload.copy(pending.data, at, 8);
      return;
    }
    case ChunkType.offsetHole: {
      const at = Number(payload.readBigUInt64BE(0)) - pending.offset;
      const length = payload.readUInt32BE(8);
      if (payload.length !== 12 || at < 0 || length === 0 || at + length > pending.length) throw new Error('bad hole');
      pending.data.fill(0, at, at + length);
      return;
    }
    case ChunkType.blockStatus:
      if (payload.readUInt32BE(0) !== 1 || payload.length % 8 !== 4) throw new Error('bad status');
      for (let at = 4; at < payload.length; at += 8) {
        pending.extents.push({ length: payload.readUInt32BE(at), flags: payload.readUInt32BE(at + 4) });
      }
      return;
    case ChunkType.error:
      pending.error = payload.readUInt32BE(0);
      return;
    default:
      throw new Error(`unknown chunk type ${type}`);
  }
}

export function encodeOption(option: number, data: Buffer): Buffer {
  const header = Buffer.alloc(16);
  header.writeBigUInt64BE(OPTION_MAGIC, 0);
  header.writeUInt32BE(option, 8);
  header.writeUInt32BE(data.length, 12);
  return Buffer.concat([header, data]);
}

export function encodeRequest(command: number, flags: number, cookie: number, offset: number, length: number): Buffer {
  const header = Buffer.alloc(28);
  header.writeUInt32BE(REQUEST_MAGIC, 0);
  header.writeUInt16BE(flags, 4);
  header.writeUInt16BE(command, 6);
  header.writeBigUInt64BE(BigInt(cookie), 8);
  header.writeBigUInt64BE(BigInt(offset), 16);
  header.writeUInt32BE(length, 24);
  return header;
}

function lengthPrefixed(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  const prefix = Buffer.alloc(4);
  prefix.writeUInt32BE(bytes.length, 0);
  return Buffer.concat([prefix, bytes]);
}

export function goData(name: string, informationTypes: readonly number[] = []): Buffer {
  const types = Buffer.alloc(2 + 2 * informationTypes.length);
  types.writeUInt16BE(informationTypes.length, 0);
  for (const [index, type] of informationTypes.entries()) types.writeUInt16BE(type, 2 + 2 * index);
  return Buffer.concat([lengthPrefixed(name), types]);
}

export function metaContextData(name: string, queries: readonly string[]): Buffer {
  const count = Buffer.alloc(4);
  count.writeUInt32BE(queries.length, 0);
  return Buffer.concat([lengthPrefixed(name), count, ...queries.map(lengthPrefixed)]);
}
