import {
  BASE_ALLOCATION,
  BASE_ALLOCATION_ID,
  CLIENT_FLAGS_SIZE,
  EXPORT_NAME_PADDING_SIZE,
  GREETING_MAGIC,
  GREETING_SIZE,
  HandshakeFlag,
  InfoType,
  MAX_OPTION_BYTES,
  MAX_PAYLOAD_BYTES,
  MAX_SKIPPED_OPTION_BYTES,
  MAX_STRING_BYTES,
  MINIMUM_BLOCK_BYTES,
  OPTION_HEADER_SIZE,
  OPTION_MAGIC,
  OPTION_REPLY_HEADER_SIZE,
  OPTION_REPLY_MAGIC,
  Option,
  OptionReply,
  PREFERRED_BLOCK_BYTES,
} from './wire.ts';

/** What negotiation must know of an export. */
export interface ExportInfo {
  readonly name: string;
  readonly sizeBytes: number;
  /** Transmission flags without SEND_DF, which depends on what is negotiated. */
  readonly flags: number;
  readonly flagsWithStructuredReplies: number;
}

/** The exports of a server, as negotiation sees them. */
export interface ExportDirectory<T extends ExportInfo> {
  /** The empty name means the default export. */
  find(name: string): T | undefined;
  list(): Iterable<T>;
}

/** The end of a negotiation that led to transmission. */
export interface Negotiated<T extends ExportInfo> {
  readonly export: T;
  readonly structuredReplies: boolean;
  /** base:allocation was selected for this very export. */
  readonly baseAllocation: boolean;
}

export type HandshakeStep<T extends ExportInfo> =
  | { readonly kind: 'more' }
  | { readonly kind: 'transmission'; readonly negotiated: Negotiated<T>; readonly rest: Buffer }
  /** `polite`: the peer asked for the end; what was sent still goes out. */
  | { readonly kind: 'close'; readonly polite: boolean };

const MORE = { kind: 'more' } as const;
const CLOSE = { kind: 'close', polite: false } as const;
const EMPTY = Buffer.alloc(0);
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * The server's side of fixed newstyle negotiation ("Handshake phase" of the specification), fed with what arrives.
 * Holds at most one option of MAX_OPTION_BYTES; a peer that breaks the rules is told so, or loses its connection.
 */
export class Handshake<T extends ExportInfo> {
  readonly #exports: ExportDirectory<T>;
  readonly #send: (bytes: Buffer) => void;
  #buffered: Buffer = EMPTY;
  #clientFlags: number | undefined;
  #skipBytes = 0;
  #structuredReplies = false;
  /** The export for which base:allocation was selected. */
  #statusExport: T | undefined;

  constructor(exports: ExportDirectory<T>, send: (bytes: Buffer) => void) {
    this.#exports = exports;
    this.#send = send;
  }

  /** The server speaks first. */
  greet(): void {
    const greeting = Buffer.alloc(GREETING_SIZE);
    greeting.writeBigUInt64BE(GREETING_MAGIC, 0);
    greeting.writeBigUInt64BE(OPTION_MAGIC, 8);
    greeting.writeUInt16BE(HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes, 16);
    this.#send(greeting);
  }

  receive(chunk: Buffer): HandshakeStep<T> {
    let input = this.#buffered.length === 0 ? chunk : Buffer.concat([this.#buffered, chunk]);
    this.#buffered = EMPTY;
    if (this.#clientFlags === undefined) {
      if (input.length < CLIENT_FLAGS_SIZE) return this.#wait(input);
      this.#clientFlags = input.readUInt32BE(0);
      input = input.subarray(CLIENT_FLAGS_SIZE);
      const known = HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes;
      if ((this.#clientFlags & ~known) !== 0) return CLOSE;
    }
    for (;;) {
      if (this.#skipBytes > 0) {
        const skipped = Math.min(this.#skipBytes, input.length);
        this.#skipBytes -= skipped;
        input = input.subarray(skipped);
        if (this.#skipBytes > 0) return MORE;
      }
      if (input.length < OPTION_HEADER_SIZE) return this.#wait(input);
      if (input.readBigUInt64BE(0) !== OPTION_MAGIC) return CLOSE;
      const option = input.readUInt32BE(8);
      const length = input.readUInt32BE(12);
      if (length > MAX_OPTION_BYTES) {
        // EXPORT_NAME has no form for a refusal.
        if (length > MAX_SKIPPED_OPTION_BYTES || option === Option.exportName) return CLOSE;
        this.#reply(option, OptionReply.errTooBig);
        this.#skipBytes = length;
        input = input.subarray(OPTION_HEADER_SIZE);
        continue;
      }
      const end = OPTION_HEADER_SIZE + length;
      if (input.length < end) return this.#wait(input);
      const data = input.subarray(OPTION_HEADER_SIZE, end);
      input = input.subarray(end);
      const step = this.#handle(option, data, input);
      if (step.kind !== 'more') return step;
    }
  }

  #wait(input: Buffer): HandshakeStep<T> {
    // A copy: the received chunk may be far larger than the few bytes that wait.
    this.#buffered = Buffer.from(input);
    return MORE;
  }

  #handle(option: number, data: Buffer, rest: Buffer): HandshakeStep<T> {
    switch (option) {
      case Option.exportName:
        return this.#exportName(data, rest);
      case Option.abort:
        this.#reply(option, OptionReply.ack);
        return { kind: 'close', polite: true };
      case Option.list:
        this.#list(data);
        return MORE;
      case Option.info:
      case Option.go:
        return this.#infoOrGo(option, data, rest);
      case Option.structuredReply:
        if (data.length === 0) this.#structuredReplies = true;
        this.#reply(option, data.length === 0 ? OptionReply.ack : OptionReply.errInvalid);
        return MORE;
      case Option.listMetaContext:
      case Option.setMetaContext:
        this.#metaContext(option, data);
        return MORE;
      default:
        // STARTTLS among them: the socket's permissions are the protection.
        this.#reply(option, OptionReply.errUnsupported);
        return MORE;
    }
  }

  #exportName(data: Buffer, rest: Buffer): HandshakeStep<T> {
    const name = decodeString(data);
    const found = name === undefined ? undefined : this.#exports.find(name);
    if (!found) return CLOSE;
    const noZeroes = ((this.#clientFlags ?? 0) & HandshakeFlag.noZeroes) !== 0;
    const answer = Buffer.alloc(10 + (noZeroes ? 0 : EXPORT_NAME_PADDING_SIZE));
    answer.writeBigUInt64BE(BigInt(found.sizeBytes), 0);
    answer.writeUInt16BE(this.#flagsOf(found), 8);
    this.#send(answer);
    return this.#toTransmission(found, rest);
  }

  #list(data: Buffer): void {
    if (data.length !== 0) {
      this.#reply(Option.list, OptionReply.errInvalid);
      return;
    }
    for (const { name } of this.#exports.list()) {
      const bytes = Buffer.from(name, 'utf8');
      const entry = Buffer.alloc(4 + bytes.length);
      entry.writeUInt32BE(bytes.length, 0);
      bytes.copy(entry, 4);
      this.#reply(Option.list, OptionReply.server, entry);
    }
    this.#reply(Option.list, OptionReply.ack);
  }

  /** Data: u32 name length, name, u16 count, count times u16 information type. */
  #infoOrGo(option: number, data: Buffer, rest: Buffer): HandshakeStep<T> {
    const nameEnd = data.length < 6 ? -1 : 4 + data.readUInt32BE(0);
    const isWellFormed =
      nameEnd >= 4 && nameEnd + 2 <= data.length && data.length === nameEnd + 2 + 2 * data.readUInt16BE(nameEnd);
    const name = isWellFormed ? decodeString(data.subarray(4, nameEnd)) : undefined;
    if (name === undefined) {
      this.#reply(option, OptionReply.errInvalid);
      return MORE;
    }
    const found = this.#exports.find(name);
    if (!found) {
      this.#reply(option, OptionReply.errUnknown);
      return MORE;
    }
    const about = Buffer.alloc(12);
    about.writeUInt16BE(InfoType.export, 0);
    about.writeBigUInt64BE(BigInt(found.sizeBytes), 2);
    about.writeUInt16BE(this.#flagsOf(found), 10);
    this.#reply(option, OptionReply.info, about);

    const sizes = Buffer.alloc(14);
    sizes.writeUInt16BE(InfoType.blockSize, 0);
    sizes.writeUInt32BE(MINIMUM_BLOCK_BYTES, 2);
    sizes.writeUInt32BE(PREFERRED_BLOCK_BYTES, 6);
    sizes.writeUInt32BE(MAX_PAYLOAD_BYTES, 10);
    this.#reply(option, OptionReply.info, sizes);

    for (let at = nameEnd + 2; at < data.length; at += 2) {
      if (data.readUInt16BE(at) !== InfoType.name) continue;
      const bytes = Buffer.from(found.name, 'utf8');
      const entry = Buffer.alloc(2 + bytes.length);
      entry.writeUInt16BE(InfoType.name, 0);
      bytes.copy(entry, 2);
      this.#reply(option, OptionReply.info, entry);
      break;
    }
    this.#reply(option, OptionReply.ack);
    return option === Option.go ? this.#toTransmission(found, rest) : MORE;
  }

  /** Data: u32 name length, name, u32 count, count times (u32 length, query). */
  #metaContext(option: number, data: Buffer): void {
    const isSet = option === Option.setMetaContext;
    // A failed selection leaves none selected.
    if (isSet) this.#statusExport = undefined;
    if (isSet && !this.#structuredReplies) {
      this.#reply(option, OptionReply.errInvalid);
      return;
    }
    const parsed = parseMetaContext(data);
    if (!parsed) {
      this.#reply(option, OptionReply.errInvalid);
      return;
    }
    const found = this.#exports.find(parsed.name);
    if (!found) {
      this.#reply(option, OptionReply.errUnknown);
      return;
    }
    const listsAll = !isSet && parsed.queries.length === 0;
    const isWanted = parsed.queries.some((query) => query === BASE_ALLOCATION || (!isSet && query === 'base:'));
    if (listsAll || isWanted) {
      const entry = Buffer.alloc(4 + BASE_ALLOCATION.length);
      entry.writeUInt32BE(BASE_ALLOCATION_ID, 0);
      entry.write(BASE_ALLOCATION, 4, 'latin1');
      this.#reply(option, OptionReply.metaContext, entry);
      if (isSet) this.#statusExport = found;
    }
    this.#reply(option, OptionReply.ack);
  }

  #flagsOf(found: T): number {
    return this.#structuredReplies ? found.flagsWithStructuredReplies : found.flags;
  }

  #toTransmission(found: T, rest: Buffer): HandshakeStep<T> {
    return {
      kind: 'transmission',
      negotiated: {
        export: found,
        structuredReplies: this.#structuredReplies,
        baseAllocation: this.#statusExport === found,
      },
      rest,
    };
  }

  #reply(option: number, type: number, data: Buffer = EMPTY): void {
    const reply = Buffer.alloc(OPTION_REPLY_HEADER_SIZE + data.length);
    reply.writeBigUInt64BE(OPTION_REPLY_MAGIC, 0);
    reply.writeUInt32BE(option, 8);
    reply.writeUInt32BE(type, 12);
    reply.writeUInt32BE(data.length, 16);
    data.copy(reply, OPTION_REPLY_HEADER_SIZE);
    this.#send(reply);
  }
}

function decodeString(bytes: Buffer): string | undefined {
  if (bytes.length > MAX_STRING_BYTES) return undefined;
  try {
    return utf8.decode(bytes);
  } catch {
    // Not UTF-8: no export has such a name.
    return undefined;
  }
}

function parseMetaContext(data: Buffer): { readonly name: string; readonly queries: readonly string[] } | undefined {
  if (data.length < 8) return undefined;
  const nameEnd = 4 + data.readUInt32BE(0);
  if (nameEnd + 4 > data.length) return undefined;
  const name = decodeString(data.subarray(4, nameEnd));
  if (name === undefined) return undefined;
  const count = data.readUInt32BE(nameEnd);
  const queries: string[] = [];
  let at = nameEnd + 4;
  for (let index = 0; index < count; index++) {
    if (at + 4 > data.length) return undefined;
    const end = at + 4 + data.readUInt32BE(at);
    if (end > data.length) return undefined;
    const query = decodeString(data.subarray(at + 4, end));
    if (query === undefined) return undefined;
    queries.push(query);
    at = end;
  }
  return at === data.length ? { name, queries } : undefined;
}
