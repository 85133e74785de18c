import { deferred } from '../../async/index.ts';
import { describeAllocation } from './block-status.ts';
import type { Export } from './export.ts';
import type { Negotiated } from './handshake.ts';
import { ReplyBuffer, writeChunkHeader, writeSimpleReply } from './reply-buffer.ts';
import { checkRequest, errnoOf } from './request.ts';
import type { Transport } from './transport.ts';
import {
  BASE_ALLOCATION_ID,
  CHUNK_FLAG_DONE,
  CHUNK_HEADER_SIZE,
  ChunkType,
  Command,
  CommandFlag,
  MAX_PAYLOAD_BYTES,
  NbdErrno,
  REQUEST_HEADER_SIZE,
  REQUEST_MAGIC,
  SIMPLE_REPLY_SIZE,
} from './wire.ts';

/** Header and offset of an OFFSET_DATA chunk. */
const DATA_PREFIX_SIZE = CHUNK_HEADER_SIZE + 8;
/** Longer reads are answered in pieces: sending one overlaps with reading the next, and no peer costs much memory. */
const READ_PIECE_BYTES = 128 * 1024;
/** A run of zeros at least this long becomes a hole chunk; below it the header costs as much as the bytes. */
const MIN_HOLE_BYTES = 4096;
/** Above it no further request is taken until the peer has read some. */
const MAX_PENDING_OUTPUT_BYTES = 2 * 1024 * 1024;
/** Replies that wait for storage; above either no further request is taken. */
const MAX_WAITING_REQUESTS = 256;
const MAX_WAITING_BYTES = 4 * 1024 * 1024;
/** After so many requests without company, a peer is taken for one that waits for every reply. */
const LONELY_REQUESTS = 16;
/** After so many received chunks with one request at most, the next is expected to be alone as well. */
const SEQUENTIAL_RUNS = 16;
/** Data read from storage is copied behind other replies up to this size; larger data is sent from where it lies. */
const MAX_COPIED_BYTES = 64 * 1024;
/** Payload that ends inside of such a unit waits for the unit's rest, so that the device sees whole sectors. */
const WRITE_UNIT_BYTES = 4096;
/** Ranges of trim and write-zeroes are worked off in slices that end at multiples of these, other work in between. */
const UNMAP_SLICE_BYTES = 256 * 1024 * 1024;
const ZERO_SLICE_BYTES = 8 * 1024 * 1024;
/** How much of a CACHE request is read ahead at most. */
const MAX_CACHED_BYTES = 64 * 1024 * 1024;
const CACHE_PIECE_BYTES = 1024 * 1024;

/** A request that is worked off in more than one step. */
interface LongRequest {
  readonly command: typeof Command.read | typeof Command.trim | typeof Command.writeZeroes;
  readonly flags: number;
  readonly cookieHigh: number;
  readonly cookieLow: number;
  position: number;
  readonly end: number;
  /** Pieces of a read that wait for storage. */
  waitingPieces: number;
  error: number;
  /** Of a read in simple form: the reply has begun, so that nothing but its data may follow. */
  isReplyBegun: boolean;
}

/**
 * The transmission phase of one connection: parses requests where they lie in the received chunk, carries them out on
 * the spot and sends all replies of a chunk together. Only flushes and reads of what is not in memory are answered
 * later. A peer that breaks the protocol, or does not read its replies, harms only itself.
 */
export class Transmission {
  readonly #export: Export;
  readonly #structured: boolean;
  readonly #baseAllocation: boolean;
  readonly #transport: Transport;
  readonly #replies: ReplyBuffer;
  readonly #guarded: (work: () => void) => void;

  readonly #header = Buffer.allocUnsafeSlow(REQUEST_HEADER_SIZE);
  #headerUsed = 0;
  /** Received but not yet looked at, while something must be waited for. */
  #rest: Buffer | undefined;
  #long: LongRequest | undefined;

  // The WRITE whose payload is arriving.
  #writeLeft = 0;
  #writeOffset = 0;
  #writeFlags = 0;
  #writeError = 0;
  #writeCookieHigh = 0;
  #writeCookieLow = 0;
  readonly #unit = Buffer.allocUnsafeSlow(WRITE_UNIT_BYTES);
  #unitUsed = 0;

  /** How often in a row what was received held no more than one request. */
  #singleRuns = 0;
  /** Requests in a row that came while no other was in progress. */
  #lonelyRequests = 0;
  /** Late replies that must not come between the parts of another. */
  #heldReplies: (() => void)[] = [];
  #waitingRequests = 0;
  #waitingBytes = 0;
  #isRunning = false;
  #isYielding = false;
  #isFlushScheduled = false;
  #isDisconnecting = false;
  #isShuttingDown = false;
  #isClosed = false;

  /** `guarded` runs what an event loop calls: an exception in it must end no more than this connection. */
  constructor(negotiated: Negotiated<Export>, transport: Transport, guarded: (work: () => void) => void) {
    this.#guarded = guarded;
    this.#export = negotiated.export;
    this.#structured = negotiated.structuredReplies;
    this.#baseAllocation = negotiated.baseAllocation;
    this.#transport = transport;
    this.#replies = new ReplyBuffer(transport);
  }

  get isWaiting(): boolean {
    return this.#waitingRequests > 0 || this.#rest !== undefined;
  }

  /** For a while, requests have come one by one: the peer waits for replies, or its requests are large. */
  get isSequential(): boolean {
    return this.#singleRuns >= SEQUENTIAL_RUNS;
  }

  receive(chunk: Buffer): void {
    // A paused transport may deliver what it had read already.
    if (this.#rest) this.#rest = Buffer.concat([this.#rest, chunk]);
    else this.#run(chunk);
  }

  drained(): void {
    this.#replies.drained();
    this.resume();
  }

  /** Goes on where something had to be waited for. */
  resume(): void {
    const rest = this.#rest;
    if (!rest || this.#isRunning || this.#isClosed || this.#isBlocked()) return;
    this.#rest = undefined;
    this.#transport.resumeReading();
    this.#run(rest);
  }

  /** New requests are refused with ESHUTDOWN; the connection ends once the ones in progress are answered. */
  shutdown(): void {
    this.#isShuttingDown = true;
    this.#endIfFinished();
  }

  closed(): void {
    this.#isClosed = true;
    this.#rest = undefined;
    this.#long = undefined;
  }

  #isBlocked(): boolean {
    return (
      this.#isYielding ||
      this.#export.isGated ||
      this.#waitingRequests >= MAX_WAITING_REQUESTS ||
      this.#waitingBytes >= MAX_WAITING_BYTES ||
      (!this.#structured && this.#long !== undefined && this.#long.waitingPieces > 0) ||
      this.#transport.pendingBytes() > MAX_PENDING_OUTPUT_BYTES
    );
  }

  #run(input: Buffer): void {
    this.#isRunning = true;
    const requestsBefore = this.#export.stats.requests;
    const end = input.length;
    let at = 0;
    while (!this.#isDisconnecting && !this.#isClosed) {
      if (this.#isBlocked()) {
        this.#rest = input.subarray(at);
        this.#transport.pauseReading();
        break;
      }
      if (this.#long) {
        this.#stepLong(this.#long);
        continue;
      }
      if (at === end) break;
      if (this.#writeLeft > 0) {
        at = this.#takePayload(input, at);
        continue;
      }
      if (this.#headerUsed === 0 && end - at >= REQUEST_HEADER_SIZE) {
        const isLonely = end - at === REQUEST_HEADER_SIZE && this.#waitingRequests === 0;
        this.#lonelyRequests = isLonely ? this.#lonelyRequests + 1 : 0;
        this.#request(input, at);
        at += REQUEST_HEADER_SIZE;
        continue;
      }
      const taken = Math.min(REQUEST_HEADER_SIZE - this.#headerUsed, end - at);
      input.copy(this.#header, this.#headerUsed, at, at + taken);
      at += taken;
      this.#headerUsed += taken;
      if (this.#headerUsed === REQUEST_HEADER_SIZE) {
        this.#headerUsed = 0;
        this.#request(this.#header, 0);
      }
    }
    this.#replies.flush();
    this.#singleRuns = this.#export.stats.requests - requestsBefore > 1 ? 0 : this.#singleRuns + 1;
    this.#isRunning = false;
    this.#endIfFinished();
  }

  #request(header: Buffer, at: number): void {
    if (header.readUInt32BE(at) !== REQUEST_MAGIC) {
      // Where the next request starts is unknown: nothing sensible can follow.
      this.#isDisconnecting = true;
      return;
    }
    const flags = header.readUInt16BE(at + 4);
    const command = header.readUInt16BE(at + 6);
    const cookieHigh = header.readUInt32BE(at + 8);
    const cookieLow = header.readUInt32BE(at + 12);
    const offset = header.readUInt32BE(at + 16) * 0x1_0000_0000 + header.readUInt32BE(at + 20);
    const length = header.readUInt32BE(at + 24);
    if (command === Command.disconnect) {
      this.#isDisconnecting = true;
      return;
    }
    this.#export.stats.requests++;
    const error = this.#isShuttingDown
      ? NbdErrno.eshutdown
      : checkRequest(this.#export, command, flags, offset, length, this.#structured);

    if (command === Command.write) {
      // The payload follows, whatever becomes of the request; one this long is an attack or a lost peer.
      if (length > MAX_PAYLOAD_BYTES) {
        this.#isDisconnecting = true;
        return;
      }
      this.#writeLeft = length;
      if (error === NbdErrno.ok) this.#export.stats.writtenBytes += length;
      this.#writeOffset = offset;
      this.#writeFlags = flags;
      this.#writeError = error;
      this.#writeCookieHigh = cookieHigh;
      this.#writeCookieLow = cookieLow;
      if (length === 0) this.#finishChange(flags, cookieHigh, cookieLow, error);
      return;
    }
    if (error !== NbdErrno.ok) {
      this.#answer(command, cookieHigh, cookieLow, error);
      return;
    }
    switch (command) {
      case Command.read:
        this.#read(flags, cookieHigh, cookieLow, offset, length);
        return;
      case Command.flush:
        this.#answerLater(command, cookieHigh, cookieLow, this.#export.flush());
        return;
      case Command.trim:
      case Command.writeZeroes:
        if ((flags & CommandFlag.fastZero) !== 0 && (flags & CommandFlag.noHole) !== 0) {
          // Without giving space back, zeros are written like any other data.
          this.#answer(command, cookieHigh, cookieLow, NbdErrno.enotsup);
          return;
        }
        this.#startLong(command, flags, cookieHigh, cookieLow, offset, length);
        return;
      case Command.cache:
        this.#answerLater(command, cookieHigh, cookieLow, this.#readAhead(offset, length));
        return;
      case Command.blockStatus:
        this.#blockStatus(flags, cookieHigh, cookieLow, offset, length);
        return;
      default:
        this.#answer(command, cookieHigh, cookieLow, NbdErrno.einval);
    }
  }

  // Reading

  #read(flags: number, cookieHigh: number, cookieLow: number, offset: number, length: number): void {
    this.#export.stats.readBytes += length;
    if (length === 0) {
      this.#answer(Command.read, cookieHigh, cookieLow, NbdErrno.ok);
      return;
    }
    if (length <= READ_PIECE_BYTES) {
      this.#readPiece(cookieHigh, cookieLow, offset, length, undefined);
    } else if ((flags & CommandFlag.df) !== 0) {
      // Allowed from 64 KiB on; the client then asks again without wishing for one piece.
      this.#answer(Command.read, cookieHigh, cookieLow, NbdErrno.eoverflow);
    } else {
      this.#startLong(Command.read, flags, cookieHigh, cookieLow, offset, length);
    }
  }

  /** Answers from memory, at once; what is not there is fetched and answered later. `of`: a part of that request. */
  #readPiece(cookieHigh: number, cookieLow: number, offset: number, length: number, of: LongRequest | undefined): void {
    const prefix = this.#dataPrefixSize(of);
    const at = this.#replies.reserve(prefix + length);
    const buffer = this.#replies.buffer;
    let found: 'memory' | 'zero' | 'cold';
    try {
      found = this.#export.tryRead(offset, buffer, at + prefix, length);
      if (found === 'cold' && this.#lonelyRequests >= LONELY_REQUESTS) {
        if (this.#export.tryReadWaiting(offset, buffer, at + prefix, length)) found = 'memory';
      }
    } catch (error) {
      if (of) of.error = errnoOf(error);
      else this.#answer(Command.read, cookieHigh, cookieLow, errnoOf(error));
      return;
    }
    const flags = of ? 0 : CHUNK_FLAG_DONE;
    if (found === 'cold') {
      this.#readLater(cookieHigh, cookieLow, offset, length, of);
    } else if (found === 'zero' && this.#structured && length >= MIN_HOLE_BYTES) {
      this.#hole(flags, cookieHigh, cookieLow, offset, length);
    } else {
      if (found === 'zero') buffer.fill(0, at + prefix, at + prefix + length);
      if (prefix > 0) this.#writeDataPrefix(buffer, at, flags, cookieHigh, cookieLow, offset, length);
      this.#replies.commit(prefix + length);
      if (of) of.isReplyBegun = true;
    }
  }

  #readLater(cookieHigh: number, cookieLow: number, offset: number, length: number, of: LongRequest | undefined): void {
    const prefix = this.#dataPrefixSize(of);
    const bytes = Buffer.allocUnsafe(prefix + length);
    this.#waitingRequests++;
    this.#waitingBytes += length;
    if (of) of.waitingPieces++;
    const finish = (error: number): void => {
      this.#waitingRequests--;
      this.#waitingBytes -= length;
      if (this.#isClosed) return;
      if (error === NbdErrno.ok) {
        if (prefix > 0) {
          this.#writeDataPrefix(bytes, 0, of ? 0 : CHUNK_FLAG_DONE, cookieHigh, cookieLow, offset, length);
        }
        if (bytes.length <= MAX_COPIED_BYTES) {
          const at = this.#replies.reserve(bytes.length);
          bytes.copy(this.#replies.buffer, at);
          this.#replies.commit(bytes.length);
        } else this.#replies.sendOwn(bytes);
      } else if (!of) this.#answer(Command.read, cookieHigh, cookieLow, error);
      if (of) {
        if (error !== NbdErrno.ok) of.error = error;
        else of.isReplyBegun = true;
        of.waitingPieces--;
        this.#finishReadIfDone(of);
      }
      this.#afterLateReply();
    };
    this.#export.readCold(offset, bytes, prefix, length, (failure) => {
      this.#whenDone(failure ? errnoOf(failure.error) : NbdErrno.ok, !of, finish);
    });
  }

  /** What precedes data: nothing when a reply in simple form goes on. */
  #dataPrefixSize(of: LongRequest | undefined): number {
    if (this.#structured) return DATA_PREFIX_SIZE;
    return of?.isReplyBegun ? 0 : SIMPLE_REPLY_SIZE;
  }

  #writeDataPrefix(
    buffer: Buffer,
    at: number,
    flags: number,
    cookieHigh: number,
    cookieLow: number,
    offset: number,
    length: number,
  ): void {
    if (!this.#structured) {
      writeSimpleReply(buffer, at, cookieHigh, cookieLow, NbdErrno.ok);
      return;
    }
    writeChunkHeader(buffer, at, flags, ChunkType.offsetData, cookieHigh, cookieLow, 8 + length);
    writeU64(buffer, at + CHUNK_HEADER_SIZE, offset);
  }

  #hole(flags: number, cookieHigh: number, cookieLow: number, offset: number, length: number): void {
    this.#replies.chunk(flags, ChunkType.offsetHole, cookieHigh, cookieLow, 12, (buffer, at) => {
      writeU64(buffer, at, offset);
      buffer.writeUInt32BE(length, at + 8);
    });
  }

  #finishReadIfDone(long: LongRequest): void {
    const isFailed = long.error !== NbdErrno.ok;
    if ((long.position < long.end && !isFailed) || long.waitingPieces > 0) return;
    if (this.#long === long) this.#long = undefined;
    if (isFailed) this.#export.stats.errors++;
    if (this.#structured) this.#replies.done(long.cookieHigh, long.cookieLow, long.error);
    else if (isFailed && long.isReplyBegun) {
      // The simple form has no way to take back a success.
      this.#transport.destroy();
      return;
    } else if (isFailed) this.#replies.simple(long.cookieHigh, long.cookieLow, long.error);
    for (const reply of this.#heldReplies.splice(0)) reply();
  }

  async #readAhead(offset: number, length: number): Promise<void> {
    const end = offset + Math.min(length, MAX_CACHED_BYTES);
    const scratch = Buffer.allocUnsafeSlow(Math.min(CACHE_PIECE_BYTES, Math.max(1, length)));
    this.#waitingBytes += scratch.length;
    try {
      for (let at = offset; at < end && !this.#isClosed; at += CACHE_PIECE_BYTES) {
        const cached = deferred<void>();
        this.#export.readCold(at, scratch, 0, Math.min(CACHE_PIECE_BYTES, end - at), (failure) => {
          if (failure) cached.reject(failure.error);
          else cached.resolve();
        });
        await cached.promise;
      }
    } finally {
      this.#waitingBytes -= scratch.length;
    }
  }

  // Writing

  /** Hands payload to the device straight from where it was received. Returns the position behind what was taken. */
  #takePayload(input: Buffer, start: number): number {
    let at = start;
    let available = Math.min(this.#writeLeft, input.length - at);
    if (this.#writeError === NbdErrno.ok) {
      try {
        if (this.#unitUsed > 0) {
          const position = this.#writeOffset + this.#unitUsed;
          const missing = (WRITE_UNIT_BYTES - (position % WRITE_UNIT_BYTES)) % WRITE_UNIT_BYTES;
          const taken = Math.min(missing, available);
          input.copy(this.#unit, this.#unitUsed, at, at + taken);
          this.#unitUsed += taken;
          this.#writeLeft -= taken;
          at += taken;
          available -= taken;
          if (taken === missing || this.#writeLeft === 0) {
            this.#export.device.write(this.#writeOffset, this.#unit, 0, this.#unitUsed);
            this.#writeOffset += this.#unitUsed;
            this.#unitUsed = 0;
          }
        }
        if (available > 0) {
          const behind = this.#writeOffset + available;
          const tail = available === this.#writeLeft ? 0 : Math.min(available, behind % WRITE_UNIT_BYTES);
          const direct = available - tail;
          if (direct > 0) this.#export.device.write(this.#writeOffset, input, at, direct);
          this.#writeOffset += direct;
          if (tail > 0) {
            input.copy(this.#unit, 0, at + direct, at + available);
            this.#unitUsed = tail;
          }
        }
      } catch (error) {
        this.#writeError = errnoOf(error);
      }
    }
    if (this.#writeError !== NbdErrno.ok) this.#unitUsed = 0;
    at += available;
    this.#writeLeft -= available;
    if (this.#writeLeft === 0) {
      this.#finishChange(this.#writeFlags, this.#writeCookieHigh, this.#writeCookieLow, this.#writeError);
    }
    return at;
  }

  /** Answers WRITE, TRIM and WRITE_ZEROES; with FUA only once the change survives a power cut. */
  #finishChange(flags: number, cookieHigh: number, cookieLow: number, error: number): void {
    if (error === NbdErrno.ok && (flags & CommandFlag.fua) !== 0) {
      this.#answerLater(Command.write, cookieHigh, cookieLow, this.#export.flush());
    } else this.#answer(Command.write, cookieHigh, cookieLow, error);
  }

  // Requests of several steps

  #startLong(
    command: LongRequest['command'],
    flags: number,
    cookieHigh: number,
    cookieLow: number,
    offset: number,
    length: number,
  ): void {
    this.#long = {
      command,
      flags,
      cookieHigh,
      cookieLow,
      position: offset,
      end: offset + length,
      waitingPieces: 0,
      error: NbdErrno.ok,
      isReplyBegun: false,
    };
  }

  #stepLong(long: LongRequest): void {
    if (long.command === Command.read) this.#stepRead(long);
    else this.#stepChange(long, long.command);
  }

  #stepRead(long: LongRequest): void {
    const left = long.end - long.position;
    let length = Math.min(left, READ_PIECE_BYTES);
    try {
      const run = this.#structured
        ? this.#export.firstRun(long.position, left, MIN_HOLE_BYTES, READ_PIECE_BYTES)
        : { isZero: false, length };
      length = run.length;
      if (run.isZero) this.#hole(0, long.cookieHigh, long.cookieLow, long.position, length);
      else this.#readPiece(long.cookieHigh, long.cookieLow, long.position, length, long);
    } catch (error) {
      long.error = errnoOf(error);
    }
    long.position += length;
    // Pieces that are under way finish it when they come.
    if (this.#structured && (long.position >= long.end || long.error !== NbdErrno.ok)) this.#long = undefined;
    this.#finishReadIfDone(long);
  }

  #stepChange(long: LongRequest, command: typeof Command.trim | typeof Command.writeZeroes): void {
    const mayUnmap = (long.flags & CommandFlag.noHole) === 0;
    const slice = mayUnmap ? UNMAP_SLICE_BYTES : ZERO_SLICE_BYTES;
    const sliceEnd = Math.min(long.end, long.position - (long.position % slice) + slice);
    try {
      if (sliceEnd > long.position) {
        if (command === Command.trim) this.#export.trim(long.position, sliceEnd - long.position);
        else this.#export.writeZeroes(long.position, sliceEnd - long.position, mayUnmap);
      }
      long.position = sliceEnd;
    } catch (error) {
      long.error = errnoOf(error);
      long.position = long.end;
    }
    if (long.position === long.end) {
      this.#long = undefined;
      this.#finishChange(long.flags, long.cookieHigh, long.cookieLow, long.error);
      return;
    }
    this.#isYielding = true;
    setImmediate(() => {
      this.#isYielding = false;
      this.#guarded(() => this.resume());
    });
  }

  // Answering

  #blockStatus(flags: number, cookieHigh: number, cookieLow: number, offset: number, length: number): void {
    if (!this.#baseAllocation) {
      this.#answer(Command.blockStatus, cookieHigh, cookieLow, NbdErrno.einval);
      return;
    }
    try {
      const onlyOne = (flags & CommandFlag.reqOne) !== 0;
      const descriptors = describeAllocation(this.#export.device, offset, length, onlyOne);
      const size = 4 + 8 * descriptors.length;
      this.#replies.chunk(CHUNK_FLAG_DONE, ChunkType.blockStatus, cookieHigh, cookieLow, size, (buffer, start) => {
        buffer.writeUInt32BE(BASE_ALLOCATION_ID, start);
        let at = start + 4;
        for (const descriptor of descriptors) {
          buffer.writeUInt32BE(descriptor.lengthBytes, at);
          buffer.writeUInt32BE(descriptor.flags, at + 4);
          at += 8;
        }
      });
    } catch (error) {
      this.#answer(Command.blockStatus, cookieHigh, cookieLow, errnoOf(error));
    }
  }

  /** A reply without data. READ and BLOCK_STATUS need the structured form where it was negotiated. */
  #answer(command: number, cookieHigh: number, cookieLow: number, error: number): void {
    if (error !== NbdErrno.ok) this.#export.stats.errors++;
    const needsChunk = this.#structured && (command === Command.read || command === Command.blockStatus);
    if (needsChunk) this.#replies.done(cookieHigh, cookieLow, error);
    else this.#replies.simple(cookieHigh, cookieLow, error);
  }

  #answerLater(command: number, cookieHigh: number, cookieLow: number, work: Promise<void>): void {
    this.#waitingRequests++;
    const finish = (error: number): void => {
      this.#waitingRequests--;
      if (this.#isClosed) return;
      this.#answer(command, cookieHigh, cookieLow, error);
      this.#afterLateReply();
    };
    work.then(
      () => this.#whenDone(NbdErrno.ok, true, finish),
      (error: unknown) => this.#whenDone(errnoOf(error), true, finish),
    );
  }

  /** `isWhole`: what `finish` sends is a reply of its own, which must not come between the parts of another. */
  #whenDone(error: number, isWhole: boolean, finish: (error: number) => void): void {
    const mustWait = isWhole && !this.#structured && this.#long?.isReplyBegun === true && !this.#isClosed;
    if (mustWait) this.#heldReplies.push(() => finish(error));
    else this.#guarded(() => finish(error));
  }

  /** Replies that come late are sent together as well: those of one turn of the event loop. */
  #afterLateReply(): void {
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    setImmediate(() => {
      this.#isFlushScheduled = false;
      if (this.#isClosed) return;
      this.#guarded(() => {
        this.#replies.flush();
        this.#endIfFinished();
        this.resume();
      });
    });
  }

  #endIfFinished(): void {
    if (this.#isClosed || this.#isRunning || this.#waitingRequests > 0) return;
    if (!this.#isDisconnecting && (!this.#isShuttingDown || this.#long)) return;
    this.#replies.flush();
    this.#isClosed = true;
    this.#transport.end();
  }
}

function writeU64(buffer: Buffer, at: number, value: number): void {
  buffer.writeUInt32BE(Math.floor(value / 0x1_0000_0000), at);
  buffer.writeUInt32BE(value % 0x1_0000_0000, at + 4);
}
