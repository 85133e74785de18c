import { HvError } from '../../errors/index.ts';
import type { GuestAgent, GuestAgentCallOptions } from './guest-agent.ts';
import * as replies from './replies.ts';

/** In base64 still under the usual limit of an answer. */
export const FILE_PIECE_BYTES = 256 * 1024;

/** A file that the agent holds open in the guest. */
export class GuestFile {
  readonly #agent: GuestAgent;
  readonly #handle: number;
  readonly #call: GuestAgentCallOptions;

  private constructor(agent: GuestAgent, handle: number, call: GuestAgentCallOptions) {
    this.#agent = agent;
    this.#handle = handle;
    this.#call = call;
  }

  /** Opens a file, works with it and closes it, also after a failure or an abort. `timeoutMs` counts for each piece. */
  static async using<T>(
    agent: GuestAgent,
    path: string,
    mode: 'r' | 'w' | 'a',
    call: GuestAgentCallOptions,
    work: (file: GuestFile) => Promise<T>,
  ): Promise<T> {
    const opened = await agent.call('guest-file-open', { path, mode }, call);
    const handle = replies.parseReply(replies.fileHandleReply, opened, 'guest-file-open');
    // An abort must not leave the file open in the guest.
    const closing = { timeoutMs: call.timeoutMs };
    let result: T;
    try {
      result = await work(new GuestFile(agent, handle, call));
    } catch (error) {
      await agent.call('guest-file-close', { handle }, closing).catch(() => {}); // the first failure is the one to report
      throw error;
    }
    await agent.call('guest-file-close', { handle }, closing);
    return result;
  }

  /** The next piece. @throws HvError `protocol` when it has another length than the agent claims */
  async read(): Promise<{ readonly bytes: Buffer; readonly isEnd: boolean }> {
    const command = 'guest-file-read';
    const answer = await this.#agent.call(command, { handle: this.#handle, count: FILE_PIECE_BYTES }, this.#call);
    const reply = replies.parseReply(replies.fileReadReply, answer, command);
    const bytes = Buffer.from(reply['buf-b64'], 'base64');
    if (bytes.length !== reply.count || bytes.length > FILE_PIECE_BYTES) {
      throw new HvError('protocol', 'the guest agent sent a piece of a file with another length than it claims', {
        detail: { claimedBytes: reply.count, sentBytes: bytes.length },
      });
    }
    // An agent that neither ends nor gives anything would be asked for ever.
    return { bytes, isEnd: reply.eof || bytes.length === 0 };
  }

  /** Writes a piece of at most FILE_PIECE_BYTES. @throws HvError `guest-failed` where the agent does not take it */
  async write(bytes: Uint8Array): Promise<void> {
    const command = 'guest-file-write';
    for (let at = 0; at < bytes.length; ) {
      const piece = Buffer.from(bytes.subarray(at));
      const args = { handle: this.#handle, 'buf-b64': piece.toString('base64') };
      const { count } = replies.parseReply(
        replies.fileWriteReply,
        await this.#agent.call(command, args, this.#call),
        command,
      );
      if (count === 0 || count > piece.length) {
        throw new HvError('guest-failed', 'the guest agent did not write the file', { detail: { count } });
      }
      at += count;
    }
  }

  async flush(): Promise<void> {
    await this.#agent.call('guest-file-flush', { handle: this.#handle }, this.#call);
  }
}
