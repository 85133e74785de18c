import type { z } from 'zod';
import { type Deferred, deferred, type LongOptions, throwIfAborted } from '../../../async/index.ts';
import { HvError, type HvErrorJson, invariant } from '../../../errors/index.ts';
import { connectUnixSocket, JsonLineChannel, type JsonObject } from '../../../protocols/qmp/index.ts';
import { type Order, replySchema } from './wire.ts';

interface Pending extends Deferred<unknown> {
  readonly onProgress: LongOptions['onProgress'];
}

const MAX_REPLY_BYTES = 64 * 2 ** 20; // a screenshot of the largest mode, as base64

/** A command's connection to one of hv's own processes: a machine's worker, or the keeper. */
export class ControlClient implements AsyncDisposable {
  readonly #channel: JsonLineChannel;
  readonly #peer: string;
  readonly #pending = new Map<number, Pending>();
  #lastId = 0;
  #end: HvError | undefined;
  readonly closed: Promise<void>;

  private constructor(channel: JsonLineChannel, peer: string) {
    this.#channel = channel;
    this.#peer = peer;
    this.closed = this.#read();
  }

  /** @param peer names it in messages: `the machine's worker`. @throws HvError `not-found`, `io` (nobody listens) */
  static async connect(
    socketPath: string,
    peer: string,
    options: { readonly waitForSocketMs?: number } = {},
  ): Promise<ControlClient> {
    const socket = await connectUnixSocket(socketPath, options);
    return new ControlClient(new JsonLineChannel(socket, { peer, maxLineBytes: MAX_REPLY_BYTES }), peer);
  }

  /** The other side is gone: every order fails from now on. */
  get isEnded(): boolean {
    return this.#end !== undefined;
  }

  /**
   * Gives an order and waits for the answer. An abort closes the connection: the worker then leaves things as they were.
   * @throws HvError what the worker says; `process-failed` when it dies meanwhile
   */
  async call(request: Order, options: LongOptions = {}): Promise<unknown> {
    const { signal, onProgress } = options;
    throwIfAborted(signal, `asking ${this.#peer}`);
    if (this.#end) throw this.#end;
    const id = ++this.#lastId;
    const pending: Pending = { ...deferred<unknown>(), onProgress };
    this.#pending.set(id, pending);
    pending.promise.catch(() => {}); // when sending fails already, nobody awaits the answer
    const onAbort = (): void => {
      this.#end ??= new HvError('aborted', 'the operation was cancelled');
      void this.close();
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      await this.#channel.send({ id, ...request });
      return await pending.promise;
    } finally {
      signal?.removeEventListener('abort', onAbort);
      this.#pending.delete(id);
    }
  }

  /** As `call`, with the answer checked. @throws also `protocol` */
  async ask<T>(request: Order, schema: z.ZodType<T>, options: LongOptions = {}): Promise<T> {
    const parsed = schema.safeParse(await this.call(request, options));
    if (!parsed.success) throw new HvError('protocol', `the answer of ${this.#peer} to ${request.op} is malformed`);
    return parsed.data;
  }

  close(): Promise<void> {
    return this.#channel.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #read(): Promise<void> {
    let end = new HvError('process-failed', `${this.#peer} ended during the operation`);
    try {
      for await (const message of this.#channel) this.#take(message);
    } catch (error) {
      if (!(error instanceof HvError)) throw error;
      // A process that dies resets its connections: that is its end, not a failure of the socket.
      end = error.code === 'io' ? new HvError('process-failed', end.message, { cause: error }) : error;
    } finally {
      this.#end ??= end;
      for (const pending of this.#pending.values()) pending.reject(this.#end);
    }
  }

  #take(message: JsonObject): void {
    const parsed = replySchema.safeParse(message);
    if (!parsed.success) throw new HvError('protocol', `${this.#peer} sent what is not its protocol`);
    const reply = parsed.data;
    const pending = this.#pending.get(reply.id);
    // Number 0 is nobody's order: the peer could not read one, and there will be no other answer to it.
    if (reply.id === 0 && 'error' in reply) throw HvError.fromJSON(reply.error as HvErrorJson);
    if (!pending) return;
    if ('progress' in reply) {
      const { phase, done, total } = reply.progress;
      pending.onProgress?.({ phase, done, ...(total === undefined ? {} : { total }) });
    } else if ('error' in reply) {
      pending.reject(HvError.fromJSON(reply.error as HvErrorJson)); // fromJSON checks the code
    } else {
      invariant('result' in reply, 'a reply is one of three');
      pending.resolve(reply.result);
    }
  }
}
