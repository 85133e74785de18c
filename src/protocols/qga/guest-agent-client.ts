import type { Duplex } from 'node:stream';
import { abortedError, Mutex, withDeadline } from '../../async/index.ts';
import { HvError, isHvError } from '../../errors/index.ts';
import type { JsonObject } from '../json-lines.ts';
import { connectUnixSocket } from '../unix-socket.ts';
import { AGENT_HINT, AgentConnection } from './agent-connection.ts';
import { GuestAgent, type GuestAgentCall } from './guest-agent.ts';

export interface GuestAgentOptions {
  /** Longest answer to a command that returns no data. Default 1 MiB. */
  readonly maxReplyBytes?: number | undefined;
}

const DEFAULT_TIMEOUT_MS = 10_000;
const DEFAULT_MAX_REPLY_BYTES = 2 ** 20;

/**
 * One connection to the QEMU guest agent of a guest (QEMU qga/qapi-schema.json). Commands run one at a time. The guest is
 * hostile: everything that it says is bounded, validated, and its text is without control characters.
 */
export class GuestAgentClient extends GuestAgent implements AsyncDisposable {
  /** Resolves when the channel is gone. While no command runs nothing is read, and the end is seen with the next one. */
  readonly closed: Promise<void>;
  readonly #connection: AgentConnection;
  readonly #maxReplyBytes: number;
  readonly #turn = new Mutex();

  constructor(stream: Duplex, options: GuestAgentOptions = {}) {
    super();
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
  override async call(command: string, args: JsonObject = {}, options: GuestAgentCall = {}): Promise<unknown> {
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

  /** Closes the channel on hv's side; the agent goes on. Idempotent. */
  async close(): Promise<void> {
    await this.#connection.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
