import type { Duplex } from 'node:stream';
import { abortedError, Mutex, sleep, withDeadline } from '../../async/index.ts';
import { HvError, isHvError } from '../../errors/index.ts';
import type { JsonObject } from '../json-lines.ts';
import { connectUnixSocket } from '../unix-socket.ts';
import { AGENT_HINT, AgentConnection } from './agent-connection.ts';
import type { GuestAgentInfo, GuestNetworkInterface, GuestOsInfo } from './replies.ts';
import * as replies from './replies.ts';

export interface GuestAgentOptions {
  /** Longest answer to a command that returns no data. Default 1 MiB. */
  readonly maxReplyBytes?: number | undefined;
}

export interface GuestAgentCallOptions {
  /** How long one command may take, its wait behind other commands included. Default 10,000. */
  readonly timeoutMs?: number | undefined;
  /** An abort stops the waiting; a command that the agent has already may be carried out nevertheless. */
  readonly signal?: AbortSignal | undefined;
}

export interface GuestExecOptions {
  /** Written to the program's standard input, which is then closed. */
  readonly input?: Uint8Array | string | undefined;
  /** Default true. */
  readonly captureOutput?: boolean | undefined;
  /** Most of each of the two outputs; at most 16 MiB, where the agent cuts. Default 4 MiB. */
  readonly maxOutputBytes?: number | undefined;
  /** `NAME=value` each; replaces the agent's own environment. */
  readonly environment?: readonly string[] | undefined;
  /** How long the program may run. Default 60,000. The agent cannot end it: it runs on after a timeout or an abort. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface GuestExecResult {
  /** Undefined when a signal ended it. */
  readonly exitCode: number | undefined;
  readonly endSignal: number | undefined;
  /** Raw bytes of a hostile guest: pass them through `printableGuestText` before a terminal sees them. */
  readonly output: Buffer;
  readonly errorOutput: Buffer;
  /** The agent cut an output. */
  readonly isTruncated: boolean;
}

const DEFAULT_TIMEOUT_MS = 10_000;
const DEFAULT_MAX_REPLY_BYTES = 2 ** 20;
const DEFAULT_MAX_OUTPUT_BYTES = 4 * 2 ** 20;
const MAX_OUTPUT_BYTES = 16 * 2 ** 20;
/** In base64 still under the usual limit of an answer. */
const FILE_PIECE_BYTES = 256 * 1024;
const FIRST_POLL_MS = 10;
const LAST_POLL_MS = 250;
/** A shutdown that works is never answered; one that cannot even begin is refused within this time. */
const REFUSAL_GRACE_MS = 1500;

/** What the frames of a reply take beside its payload. */
const REPLY_FRAME_BYTES = 64 * 1024;

/**
 * One connection to the QEMU guest agent of a guest (QEMU qga/qapi-schema.json). Commands run one at a time. The guest is
 * hostile: everything that it says is bounded, validated, and its text is without control characters.
 */
export class GuestAgentClient implements AsyncDisposable {
  /** Resolves when the channel is gone. While no command runs nothing is read, and the end is seen with the next one. */
  readonly closed: Promise<void>;
  readonly #connection: AgentConnection;
  readonly #maxReplyBytes: number;
  readonly #turn = new Mutex();

  constructor(stream: Duplex, options: GuestAgentOptions = {}) {
    this.#connection = new AgentConnection(stream);
    this.#maxReplyBytes = options.maxReplyBytes ?? DEFAULT_MAX_REPLY_BYTES;
    this.closed = this.#connection.closed;
  }

  /**
   * Connects to the socket of the agent's port. That tells nothing about the agent itself: `ping` does.
   *
   * @throws HvError `not-found` or `io` (no QEMU), `aborted`
   */
  static async connect(
    socketPath: string,
    options: GuestAgentOptions & { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<GuestAgentClient> {
    return new GuestAgentClient(await connectUnixSocket(socketPath, options), options);
  }

  /**
   * Runs one command after synchronising. The answer is the guest's and unvalidated.
   *
   * @throws HvError `timeout` (no agent, or a busy one), `unsupported` (it lacks the command), `guest-failed` (it refused;
   *   detail {class, command}), `protocol`, `io`, `aborted`
   */
  async call(
    command: string,
    args: JsonObject = {},
    options: GuestAgentCallOptions & {
      readonly maxReplyBytes?: number | undefined;
      /** For a command that is answered only when it fails: no answer within this time is a success. */
      readonly silenceMs?: number | undefined;
    } = {},
  ): Promise<unknown> {
    const { timeoutMs = DEFAULT_TIMEOUT_MS, maxReplyBytes = this.#maxReplyBytes, silenceMs, signal } = options;
    if (signal?.aborted) throw abortedError(signal, command);
    const done = new AbortController();
    try {
      return await withDeadline(
        this.#turn.run(() =>
          this.#connection.exchange(command, args, { maxReplyBytes, silenceMs, signal: done.signal }),
        ),
        timeoutMs,
        `the guest agent's answer to ${command}`,
        { signal },
      );
    } catch (error) {
      if (!isHvError(error, 'timeout')) throw error;
      throw new HvError('timeout', `the guest agent did not answer ${command} within ${timeoutMs} ms`, {
        detail: { command, timeoutMs },
        hint: AGENT_HINT,
        cause: error,
      });
    } finally {
      // Ends the exchange if it still runs, and keeps it from starting if its turn has not come.
      done.abort();
    }
  }

  /** Returns when an agent answers. */
  async ping(options: GuestAgentCallOptions = {}): Promise<void> {
    await this.call('guest-ping', {}, options);
  }

  async info(options: GuestAgentCallOptions = {}): Promise<GuestAgentInfo> {
    return replies.parseReply(replies.infoReply, await this.call('guest-info', {}, options), 'guest-info');
  }

  /**
   * Has the guest's own shutdown program end or restart it. Returns once the agent has taken the command and not refused
   * it: the end itself shows in QEMU's events.
   */
  async shutdown(
    mode: 'powerdown' | 'halt' | 'reboot' = 'powerdown',
    options: GuestAgentCallOptions = {},
  ): Promise<void> {
    await this.call('guest-shutdown', { mode }, { ...options, silenceMs: REFUSAL_GRACE_MS });
  }

  async networkInterfaces(options: GuestAgentCallOptions = {}): Promise<readonly GuestNetworkInterface[]> {
    const command = 'guest-network-get-interfaces';
    return replies.parseReply(replies.networkInterfacesReply, await this.call(command, {}, options), command);
  }

  async osInfo(options: GuestAgentCallOptions = {}): Promise<GuestOsInfo> {
    return replies.parseReply(
      replies.osInfoReply,
      await this.call('guest-get-osinfo', {}, options),
      'guest-get-osinfo',
    );
  }

  async hostName(options: GuestAgentCallOptions = {}): Promise<string> {
    const command = 'guest-get-host-name';
    return replies.parseReply(replies.hostNameReply, await this.call(command, {}, options), command);
  }

  /** The guest's clock in milliseconds since 1970. */
  async time(options: GuestAgentCallOptions = {}): Promise<number> {
    return replies.parseReply(replies.timeReply, await this.call('guest-get-time', {}, options), 'guest-get-time');
  }

  /** Freezes the guest's file systems and returns how many. Whoever calls it must call `thawFilesystems`, also after a failure. */
  async freezeFilesystems(options: GuestAgentCallOptions = {}): Promise<number> {
    const command = 'guest-fsfreeze-freeze';
    return replies.parseReply(replies.countReply, await this.call(command, {}, options), command);
  }

  async thawFilesystems(options: GuestAgentCallOptions = {}): Promise<number> {
    const command = 'guest-fsfreeze-thaw';
    return replies.parseReply(replies.countReply, await this.call(command, {}, options), command);
  }

  async filesystemState(options: GuestAgentCallOptions = {}): Promise<'thawed' | 'frozen'> {
    const command = 'guest-fsfreeze-status';
    return replies.parseReply(replies.freezeStatusReply, await this.call(command, {}, options), command);
  }

  /** Runs `work` while the guest's file systems are frozen; they are thawed whatever happens, also after a freeze in doubt. */
  async withFrozenFilesystems<T>(work: () => Promise<T>, options: GuestAgentCallOptions = {}): Promise<T> {
    // An abort must not stop the thaw.
    const thawOptions = { timeoutMs: options.timeoutMs };
    let result: T;
    try {
      await this.freezeFilesystems(options);
      result = await work();
    } catch (error) {
      await this.thawFilesystems(thawOptions).catch(() => {}); // the first failure is the one to report
      throw error;
    }
    await this.thawFilesystems(thawOptions);
    return result;
  }

  /**
   * Runs a program in the guest (no shell) and waits for its end.
   *
   * @throws HvError as `call`; `timeout` with detail {pid} when the program runs too long; `protocol` when its output is
   *   larger than `maxOutputBytes`
   */
  async exec(path: string, args: readonly string[] = [], options: GuestExecOptions = {}): Promise<GuestExecResult> {
    const { captureOutput = true, timeoutMs = 60_000, signal, input, environment } = options;
    const maxOutputBytes = captureOutput
      ? Math.min(options.maxOutputBytes ?? DEFAULT_MAX_OUTPUT_BYTES, MAX_OUTPUT_BYTES)
      : 0;
    const deadline = performance.now() + timeoutMs;
    const leftMs = (): number => Math.max(1, deadline - performance.now());
    const request = {
      path,
      arg: args,
      'capture-output': captureOutput,
      ...(input === undefined ? {} : { 'input-data': inputBytes(input).toString('base64') }),
      ...(environment === undefined ? {} : { env: environment }),
    };
    const started = await this.call('guest-exec', request, { timeoutMs: leftMs(), signal });
    const pid = replies.parseReply(replies.execReply, started, 'guest-exec');
    // Both outputs in base64.
    const maxReplyBytes = 2 * Math.ceil((maxOutputBytes * 4) / 3) + REPLY_FRAME_BYTES;
    for (let intervalMs = FIRST_POLL_MS; ; intervalMs = Math.min(intervalMs * 2, LAST_POLL_MS)) {
      const answer = await this.call('guest-exec-status', { pid }, { timeoutMs: leftMs(), signal, maxReplyBytes });
      const status = replies.parseReply(replies.execStatusReply, answer, 'guest-exec-status');
      if (status.exited) {
        return {
          exitCode: status.exitcode,
          endSignal: status.signal,
          output: Buffer.from(status['out-data'] ?? '', 'base64'),
          errorOutput: Buffer.from(status['err-data'] ?? '', 'base64'),
          isTruncated: status['out-truncated'] === true || status['err-truncated'] === true,
        };
      }
      if (performance.now() >= deadline) {
        throw new HvError('timeout', `a program in the guest still runs after ${timeoutMs} ms`, {
          detail: { pid, timeoutMs },
          hint: 'It runs on in the guest; allow it more time.',
        });
      }
      await sleep(Math.min(intervalMs, leftMs()), { signal });
    }
  }

  /**
   * Reads a file of the guest.
   *
   * @throws HvError as `call` (`timeoutMs` counts for each piece); `protocol` when it is larger than `maxBytes`
   *   (default 16 MiB) or the pieces do not have the lengths that the agent claims
   */
  async fileRead(
    path: string,
    options: GuestAgentCallOptions & { readonly maxBytes?: number | undefined } = {},
  ): Promise<Buffer> {
    const { maxBytes = 16 * 2 ** 20, ...call } = options;
    const command = 'guest-file-read';
    return await this.#withFile(path, 'r', call, async (handle) => {
      const pieces: Buffer[] = [];
      let sizeBytes = 0;
      for (;;) {
        const answer = await this.call(command, { handle, count: FILE_PIECE_BYTES }, call);
        const reply = replies.parseReply(replies.fileReadReply, answer, command);
        const piece = Buffer.from(reply['buf-b64'], 'base64');
        if (piece.length !== reply.count || piece.length > FILE_PIECE_BYTES) {
          throw new HvError('protocol', 'the guest agent sent a piece of a file with another length than it claims', {
            detail: { claimedBytes: reply.count, sentBytes: piece.length },
          });
        }
        sizeBytes += piece.length;
        if (sizeBytes > maxBytes) {
          throw new HvError('protocol', `the guest's file is larger than ${maxBytes} bytes`, { detail: { maxBytes } });
        }
        pieces.push(piece);
        // An agent that neither ends nor gives anything would be asked for ever.
        if (reply.eof || piece.length === 0) return Buffer.concat(pieces, sizeBytes);
      }
    });
  }

  /**
   * Writes a file in the guest, replacing it, or at its end with `isAppended`. Not atomic; verify what matters by reading
   * it back.
   *
   * @throws HvError as `call` (`timeoutMs` counts for each piece)
   */
  async fileWrite(
    path: string,
    bytes: Uint8Array,
    options: GuestAgentCallOptions & { readonly isAppended?: boolean | undefined } = {},
  ): Promise<void> {
    const { isAppended = false, ...call } = options;
    const command = 'guest-file-write';
    await this.#withFile(path, isAppended ? 'a' : 'w', call, async (handle) => {
      for (let at = 0; at < bytes.length; ) {
        const piece = Buffer.from(bytes.subarray(at, at + FILE_PIECE_BYTES));
        const answer = await this.call(command, { handle, 'buf-b64': piece.toString('base64') }, call);
        const { count } = replies.parseReply(replies.fileWriteReply, answer, command);
        if (count === 0 || count > piece.length) {
          throw new HvError('guest-failed', 'the guest agent did not write the file', { detail: { count } });
        }
        at += count;
      }
      await this.call('guest-file-flush', { handle }, call);
    });
  }

  /** Closes the channel on hv's side; the agent goes on. Idempotent. */
  async close(): Promise<void> {
    await this.#connection.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #withFile<T>(
    path: string,
    mode: 'r' | 'w' | 'a',
    call: GuestAgentCallOptions,
    work: (handle: number) => Promise<T>,
  ): Promise<T> {
    const opened = await this.call('guest-file-open', { path, mode }, call);
    const handle = replies.parseReply(replies.fileHandleReply, opened, 'guest-file-open');
    // An abort must not leave the file open in the guest.
    const closing = { timeoutMs: call.timeoutMs };
    let result: T;
    try {
      result = await work(handle);
    } catch (error) {
      await this.call('guest-file-close', { handle }, closing).catch(() => {}); // the first failure is the one to report
      throw error;
    }
    await this.call('guest-file-close', { handle }, closing);
    return result;
  }
}

function inputBytes(input: Uint8Array | string): Buffer {
  return typeof input === 'string' ? Buffer.from(input, 'utf8') : Buffer.from(input);
}
