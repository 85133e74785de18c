import type { Duplex } from 'node:stream';
import { abortedError, type Deferred, deferred, withDeadline } from '../../async/index.ts';
import { HvError, isHvError } from '../../errors/index.ts';
import { JsonLineChannel, type JsonObject } from '../json-lines.ts';
import { connectUnixSocket } from '../unix-socket.ts';
import { EventQueue } from './event-queue.ts';
import { parseQmpMessage, type QmpEvent, type QmpMessage, type QmpVersion, qmpCommandError } from './wire.ts';

export interface QmpConnectOptions {
  /** QEMU serves one client per monitor and greets no second one. Default 5,000. */
  readonly greetingTimeoutMs?: number | undefined;
  /** Keeps trying this long while the socket does not exist yet or refuses. Default 0. */
  readonly waitForSocketMs?: number | undefined;
  /** Longest reply. Default 4 MiB. */
  readonly maxLineBytes?: number | undefined;
  /** Hears every event from the first one on; one that is added after connecting may miss some. */
  readonly onEvent?: QmpListener | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface QmpCallOptions {
  /** Default 30,000. */
  readonly timeoutMs?: number | undefined;
  /** An abort stops the waiting; QEMU may carry the command out nevertheless. */
  readonly signal?: AbortSignal | undefined;
}

export type QmpListener = (event: QmpEvent) => void;

interface PendingCommand extends Deferred<unknown> {
  readonly command: string;
}

const DEFAULT_GREETING_TIMEOUT_MS = 5000;
const DEFAULT_COMMAND_TIMEOUT_MS = 30_000;
const MAX_QUEUED_EVENTS = 1024;

/**
 * One connection to a QEMU monitor (QEMU docs/interop/qmp-spec). QEMU counts as hostile: its lines are bounded, its
 * answers matched by id, its events handed to listeners at once and queued only within a bound.
 */
export class QmpClient implements AsyncDisposable {
  /** What the greeting said. */
  readonly version: QmpVersion;
  /** Resolves when the connection is gone, for whatever reason; never rejects. */
  readonly closed: Promise<void>;
  readonly #channel: JsonLineChannel;
  readonly #pending = new Map<number, PendingCommand>();
  readonly #listeners = new Set<QmpListener>();
  readonly #closeListeners = new Set<(failure: HvError) => void>();
  #lastId = 0;
  #end: HvError | undefined;
  #failure: HvError | undefined;
  #isClosing = false;

  private constructor(channel: JsonLineChannel, version: QmpVersion) {
    this.#channel = channel;
    this.version = version;
    this.closed = this.#dispatch().then(() => channel.closed);
  }

  /**
   * Connects to a monitor's socket, takes the greeting and negotiates capabilities.
   *
   * @throws HvError `not-found` or `io` (no QEMU listens), `timeout` (no greeting: another client holds this monitor),
   *   `protocol`, `aborted`
   */
  static async connect(socketPath: string, options: QmpConnectOptions = {}): Promise<QmpClient> {
    const socket = await connectUnixSocket(socketPath, options);
    return await QmpClient.over(socket, { ...options, peer: `the QEMU monitor ${socketPath}` });
  }

  /** The same over a stream that is connected already, such as an inherited socket pair. Takes the stream over. */
  static async over(stream: Duplex, options: QmpConnectOptions & { readonly peer?: string } = {}): Promise<QmpClient> {
    const { greetingTimeoutMs = DEFAULT_GREETING_TIMEOUT_MS, signal, peer = 'the QEMU monitor' } = options;
    const channel = new JsonLineChannel(stream, { peer, maxLineBytes: options.maxLineBytes });
    try {
      const greeting = await receiveGreeting(channel, peer, greetingTimeoutMs, signal);
      const client = new QmpClient(channel, greeting);
      if (options.onEvent) client.onEvent(options.onEvent);
      await client.execute('qmp_capabilities', {}, { timeoutMs: greetingTimeoutMs, signal });
      return client;
    } catch (error) {
      await channel.close();
      throw error;
    }
  }

  /** What QEMU did wrong (`protocol`) or a listener (`internal`); undefined while all is well and after QEMU's end. */
  get failure(): HvError | undefined {
    return this.#failure;
  }

  get isClosed(): boolean {
    return this.#end !== undefined;
  }

  /**
   * Runs one command and gives what it returns. The type is the caller's claim: validate what matters.
   *
   * @throws HvError `process-failed`, `unsupported`, `not-found`, `invalid-state` (QEMU's refusal, detail {class,
   *   command}), `timeout`, `aborted`, and `process-failed` or `protocol` when the connection ends
   */
  async execute<T = unknown>(command: string, args: JsonObject = {}, options: QmpCallOptions = {}): Promise<T> {
    const { timeoutMs = DEFAULT_COMMAND_TIMEOUT_MS, signal } = options;
    if (signal?.aborted) throw abortedError(signal, command);
    if (this.#end) throw this.#end;
    const id = ++this.#lastId;
    const pending: PendingCommand = { command, ...deferred<unknown>() };
    this.#pending.set(id, pending);
    try {
      const answered = withDeadline(pending.promise, timeoutMs, `QEMU's answer to ${command}`, { signal });
      // The answer is waited for even if sending stalls: a QEMU that reads nothing must end in a timeout too.
      const sent = this.#channel.send({ execute: command, arguments: args, id });
      sent.catch((error: unknown) => this.#rejectUnsent(pending, error));
      return (await answered) as T; // the caller's claim, see above
    } finally {
      // An answer that comes after a timeout or an abort finds no entry and is passed over.
      this.#pending.delete(id);
    }
  }

  /** Hears every event in order, from now on. The listener must not throw: that ends the connection as `internal`. */
  onEvent(listener: QmpListener): () => void {
    const own: QmpListener = (event) => listener(event); // the same function may listen twice
    this.#listeners.add(own);
    return () => this.#listeners.delete(own);
  }

  /**
   * Waits for the next event of this name that the predicate accepts. Call it before the command that causes the event.
   * A rejection that nobody awaits is not an unhandled one.
   *
   * @throws HvError `timeout`, `aborted`, and `process-failed` or `protocol` when the connection ends
   */
  waitForEvent(
    name: string,
    predicate: (event: QmpEvent) => boolean = () => true,
    options: QmpCallOptions = {},
  ): Promise<QmpEvent> {
    const { timeoutMs = DEFAULT_COMMAND_TIMEOUT_MS, signal } = options;
    if (this.#end) {
      const refused = Promise.reject<QmpEvent>(this.#end);
      refused.catch(() => {});
      return refused;
    }
    const found = deferred<QmpEvent>();
    const stopListening = this.onEvent((event) => {
      try {
        if (event.name === name && predicate(event)) found.resolve(event);
      } catch (error) {
        found.reject(error);
      }
    });
    this.#closeListeners.add(found.reject);
    const outcome = withDeadline(found.promise, timeoutMs, `waiting for QEMU's event ${name}`, { signal }).finally(
      () => {
        stopListening();
        this.#closeListeners.delete(found.reject);
      },
    );
    outcome.catch(() => {});
    return outcome;
  }

  /**
   * Every event from the call on, at the consumer's own pace. At most 1,024 wait: then those of which only the latest
   * matters go first; if there are none, the connection ends as `protocol`. Ends when the connection does.
   */
  events(options: { signal?: AbortSignal | undefined } = {}): AsyncIterableIterator<QmpEvent> {
    const { signal } = options;
    const queue = new EventQueue(MAX_QUEUED_EVENTS);
    const stopListening = this.onEvent((event) => {
      if (!queue.offer(event)) {
        this.#channel.fail(
          new HvError('protocol', 'QEMU sent more events than are taken', { detail: { maxEvents: MAX_QUEUED_EVENTS } }),
        );
      }
    });
    const stop = (): void => {
      stopListening();
      this.#closeListeners.delete(stop);
      signal?.removeEventListener('abort', stop);
      queue.end();
    };
    if (this.#end || signal?.aborted) stop();
    else {
      this.#closeListeners.add(stop);
      signal?.addEventListener('abort', stop, { once: true });
    }
    const iterator: AsyncIterableIterator<QmpEvent> = {
      next: async () => {
        const event = await queue.take();
        if (event) return { value: event, done: false };
        stop();
        return { value: undefined, done: true };
      },
      return: async () => {
        stop();
        return { value: undefined, done: true };
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  /** Closes the connection; QEMU and its guest go on. Commands still waiting fail. Idempotent. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await this.#channel.close();
    await this.closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #dispatch(): Promise<void> {
    let end: HvError | undefined;
    try {
      for (;;) {
        const message = await this.#channel.receive();
        if (message === undefined) break;
        this.#handle(parseQmpMessage(message));
      }
    } catch (error) {
      end = isHvError(error) ? error : new HvError('internal', 'a listener to QEMU events failed', { cause: error });
      this.#channel.fail(end);
    }
    // A QEMU that is killed resets the connection or ends it, as its unread bytes have it: both are its end.
    if (end === undefined || end.code === 'io') end = this.#ordinaryEnd(end);
    else this.#failure = end;
    this.#end = end;
    for (const pending of this.#pending.values()) pending.reject(end);
    for (const tell of [...this.#closeListeners]) tell(end);
    this.#listeners.clear();
  }

  #ordinaryEnd(cause: HvError | undefined): HvError {
    if (this.#isClosing) return new HvError('aborted', 'the connection to the QEMU monitor was closed');
    return new HvError('process-failed', 'QEMU closed its monitor', {
      hint: "QEMU has ended or was killed; the virtual machine's log says why.",
      cause,
    });
  }

  #handle(message: QmpMessage): void {
    switch (message.kind) {
      case 'greeting':
        throw new HvError('protocol', 'QEMU greeted twice');
      case 'event':
        for (const listener of [...this.#listeners]) listener(message.event);
        return;
      case 'return':
        this.#take(message.id)?.resolve(message.value);
        return;
      case 'error': {
        const { id, errorClass, description } = message;
        // QEMU answers without an id only what it could not parse, and what hv sends is JSON.
        if (id === undefined) throw qmpCommandError('a line', errorClass, description);
        const pending = this.#take(id);
        pending?.reject(qmpCommandError(pending.command, errorClass, description));
        return;
      }
      default:
        message satisfies never;
    }
  }

  /** Sending fails when the connection ends; the dispatcher then knows why, in its turn. */
  #rejectUnsent(pending: PendingCommand, error: unknown): void {
    if (!isHvError(error))
      pending.reject(error); // arguments that JSON cannot hold
    else void this.closed.then(() => pending.reject(this.#end ?? error));
  }

  #take(id: number): PendingCommand | undefined {
    if (id < 1 || id > this.#lastId) {
      throw new HvError('protocol', 'QEMU answered a command that was never sent', { detail: { id } });
    }
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    return pending;
  }
}

async function receiveGreeting(
  channel: JsonLineChannel,
  peer: string,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<QmpVersion> {
  let first: JsonObject | undefined;
  try {
    first = await withDeadline(channel.receive(), timeoutMs, `the greeting of ${peer}`, { signal });
  } catch (error) {
    if (!isHvError(error, 'timeout')) throw error;
    throw new HvError('timeout', `${peer} did not greet within ${timeoutMs} ms`, {
      detail: { timeoutMs },
      hint: 'A monitor serves one client at a time: another process may hold it.',
      cause: error,
    });
  }
  if (first === undefined) throw new HvError('process-failed', `${peer} closed before its greeting`);
  const message = parseQmpMessage(first);
  if (message.kind !== 'greeting') throw new HvError('protocol', `${peer} did not begin with a greeting`);
  return message.version;
}
