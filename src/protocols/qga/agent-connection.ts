import { randomInt } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { abortedError, type Deferred, deferred, throwIfAborted, withDeadline } from '../../async/index.ts';
import { fromSystemError, HvError, type HvErrorCode, isHvError } from '../../errors/index.ts';
import { encodeJsonLine, JsonLineDecoder, type JsonObject } from '../json-lines.ts';
import { printableGuestText } from '../printable-text.ts';

/**
 * No UTF-8 text holds this byte. The agent drops what it had of a command when it reads one, and sends one before its
 * answer to guest-sync-delimited: both sides find the start of a line again (QEMU qga/qapi-schema.json).
 */
const SENTINEL = 0xff;
/** What a guest may say before it answers the synchronisation: a stale answer of the largest size, and some noise. */
const MAX_JUNK_BYTES = 64 * 2 ** 20;
/** QEMU takes nothing while no agent has the port open; what lies in the socket then would be carried out much later. */
const MAX_UNSENT_BYTES = 64 * 1024;
const CLOSE_GRACE_MS = 1000;

type Phase =
  | { readonly kind: 'idle' }
  | { readonly kind: 'sync'; readonly id: number; readonly done: Deferred<void> }
  | { readonly kind: 'reply'; readonly id: number; readonly done: Deferred<JsonObject> };

/**
 * The agent's side of a virtio-serial port as QEMU offers it: a byte stream whose other end is the guest, or nobody.
 * Each exchange begins with a synchronisation, so that nothing from before can pass for its answer, and outside of
 * exchanges nothing is read: a guest that talks without being asked is held back by QEMU.
 */
export class AgentConnection {
  readonly closed: Promise<void>;
  readonly #stream: Duplex;
  readonly #closed: Deferred<void> = deferred();
  #phase: Phase = { kind: 'idle' };
  #decoder = new JsonLineDecoder();
  #skipsToSentinel = true;
  #junkBytes = 0;
  #failure: HvError | undefined;

  constructor(stream: Duplex) {
    this.#stream = stream;
    this.closed = this.#closed.promise;
    stream.pause();
    stream.on('data', (chunk: Buffer) => this.#onData(chunk));
    stream.on('error', (error) => this.#end(fromSystemError(error, 'talking to the guest agent')));
    stream.on('end', () => stream.destroy());
    stream.on('close', () => {
      this.#end(
        new HvError('io', 'the channel of the guest agent is closed', { hint: 'QEMU has ended or was killed.' }),
      );
      this.#closed.resolve();
    });
    stream.pause(); // a listener for data sets the stream flowing
  }

  /**
   * Sends one command and waits for its answer. One call at a time. With `silenceMs`, for a command that is answered
   * only when it fails, no answer within that time, or the channel's end, is a success.
   *
   * @throws HvError `guest-failed` and `unsupported` (the agent's refusal), `protocol`, `io`, or the signal's reason
   */
  async exchange(
    command: string,
    args: JsonObject,
    options: { readonly maxReplyBytes: number; readonly silenceMs?: number | undefined; readonly signal: AbortSignal },
  ): Promise<unknown> {
    const { maxReplyBytes, silenceMs, signal } = options;
    throwIfAborted(signal, command);
    if (this.#failure) throw this.#failure;
    if (this.#stream.writableLength > MAX_UNSENT_BYTES) {
      throw new HvError('timeout', 'the guest agent takes no commands', { hint: AGENT_HINT });
    }
    const stopped = quietDeferred<never>();
    const onAbort = (): void => stopped.reject(abortedError(signal, command));
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      const id = await this.#synchronise(maxReplyBytes, stopped.promise);
      if (this.#failure) throw this.#failure;
      const replied = quietDeferred<JsonObject>();
      this.#decoder.reset();
      this.#skipsToSentinel = false;
      this.#phase = { kind: 'reply', id, done: replied };
      this.#stream.write(encodeJsonLine({ execute: command, arguments: args }));
      const reply = await Promise.race([
        silenceMs === undefined ? replied.promise : refusalWithin(replied.promise, silenceMs),
        stopped.promise,
      ]);
      if ('error' in reply) throw agentError(command, reply.error);
      return reply.return;
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#phase = { kind: 'idle' };
      this.#decoder = new JsonLineDecoder(); // lets go of a large buffer
      this.#stream.pause();
    }
  }

  async close(): Promise<void> {
    const timer = setTimeout(() => this.#stream.destroy(), CLOSE_GRACE_MS);
    this.#stream.end(() => this.#stream.destroy());
    await this.closed;
    clearTimeout(timer);
  }

  /** Gives the identifier that the agent has repeated: what follows it was said after it. */
  async #synchronise(maxReplyBytes: number, stopped: Promise<never>): Promise<number> {
    // Larger than 2 ** 32, so that no count or handle which a stale answer returns is taken for it.
    const id = 2 ** 32 + randomInt(2 ** 47);
    const synced = quietDeferred<void>();
    this.#decoder = new JsonLineDecoder({ maxLineBytes: maxReplyBytes });
    this.#skipsToSentinel = true;
    this.#junkBytes = 0;
    this.#phase = { kind: 'sync', id, done: synced };
    this.#stream.resume();
    const line = encodeJsonLine({ execute: 'guest-sync-delimited', arguments: { id } });
    this.#stream.write(Buffer.concat([Buffer.from([SENTINEL]), line]));
    await Promise.race([synced.promise, stopped]);
    return id;
  }

  #onData(chunk: Buffer): void {
    let start = 0;
    while (start <= chunk.length) {
      const phase = this.#phase;
      if (phase.kind === 'idle') return;
      const sentinel = chunk.indexOf(SENTINEL, start);
      const stop = sentinel === -1 ? chunk.length : sentinel;
      if (phase.kind === 'sync') {
        this.#junkBytes += stop - start;
        if (this.#junkBytes > MAX_JUNK_BYTES) {
          phase.done.reject(
            new HvError('protocol', 'the guest sends noise instead of answers', {
              detail: { junkBytes: this.#junkBytes },
            }),
          );
          this.#phase = { kind: 'idle' };
          return;
        }
      }
      if (!this.#skipsToSentinel) this.#decode(chunk.subarray(start, stop));
      if (sentinel === -1) return;
      this.#decoder.reset();
      this.#skipsToSentinel = false;
      start = sentinel + 1;
    }
  }

  #decode(bytes: Buffer): void {
    try {
      this.#decoder.push(bytes, (value) => this.#onObject(value));
    } catch (error) {
      const phase = this.#phase;
      if (phase.kind === 'reply') {
        phase.done.reject(
          new HvError('protocol', "the guest agent's answer is not the protocol", {
            detail: { reason: error instanceof Error ? error.message : String(error) },
            cause: error,
          }),
        );
        this.#phase = { kind: 'idle' };
      } else {
        // Before the synchronisation anything may come: what follows the next sentinel counts.
        this.#decoder.reset();
        this.#skipsToSentinel = true;
      }
    }
  }

  #onObject(value: JsonObject): void {
    const phase = this.#phase;
    if (phase.kind === 'sync') {
      if (value.return === phase.id) {
        phase.done.resolve();
        // What comes before the command is sent answers nothing.
        this.#phase = { kind: 'idle' };
      }
    } else if (phase.kind === 'reply' && value.return !== phase.id) {
      if ('return' in value || 'error' in value) phase.done.resolve(value);
      else phase.done.reject(new HvError('protocol', "the guest agent's answer neither returns nor fails"));
      this.#phase = { kind: 'idle' };
    }
  }

  #end(failure: HvError): void {
    this.#failure ??= failure;
    const phase = this.#phase;
    if (phase.kind !== 'idle') phase.done.reject(this.#failure);
    this.#phase = { kind: 'idle' };
  }
}

/** A deferred that nobody may come to await. */
function quietDeferred<T>(): Deferred<T> {
  const made = deferred<T>();
  made.promise.catch(() => {});
  return made;
}

async function refusalWithin(replied: Promise<JsonObject>, silenceMs: number): Promise<JsonObject> {
  try {
    return await withDeadline(replied, silenceMs, 'a refusal');
  } catch (error) {
    if (isHvError(error, 'timeout') || isHvError(error, 'io')) return {};
    throw error;
  }
}

export const AGENT_HINT =
  'Install and start qemu-guest-agent in the guest, and check that the virtual machine has its channel.';

const CODE_BY_CLASS: Readonly<Record<string, HvErrorCode>> = { CommandNotFound: 'unsupported' };

function agentError(command: string, error: unknown): HvError {
  const fields: Readonly<Record<string, unknown>> = typeof error === 'object' && error !== null ? { ...error } : {};
  const errorClass = typeof fields.class === 'string' ? printableGuestText(fields.class, { maxLength: 64 }) : 'unknown';
  const description = typeof fields.desc === 'string' ? printableGuestText(fields.desc) : 'it gave no reason';
  const code = Object.hasOwn(CODE_BY_CLASS, errorClass) ? CODE_BY_CLASS[errorClass] : undefined;
  return new HvError(code ?? 'guest-failed', `the guest agent refused ${command}: ${description}`, {
    detail: { class: errorClass, command },
  });
}
