import { sleep } from '../../async/index.ts';
import { HvError } from '../../errors/index.ts';
import type { GuestAgent } from './guest-agent.ts';
import * as replies from './replies.ts';

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
  /** Told the program's process id as soon as it runs. */
  onStarted?(pid: number): void;
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

const DEFAULT_MAX_OUTPUT_BYTES = 4 * 2 ** 20;
/** Where the agent cuts (QEMU qga/commands.c, GUEST_EXEC_MAX_OUTPUT). */
export const MAX_OUTPUT_BYTES = 16 * 2 ** 20;
const FIRST_POLL_MS = 10;
const LAST_POLL_MS = 250;
/** For one command, however long or short the program may run. */
const CALL_TIMEOUT_MS = 30_000;
const SHORTEST_CALL_TIMEOUT_MS = 2000;
/** What the frames of a reply take beside its payload. */
const REPLY_FRAME_BYTES = 64 * 1024;

/**
 * Runs a program in the guest (no shell) and waits for its end.
 *
 * @throws HvError as `GuestAgent.call`; `timeout` with detail {pid} when the program runs too long; `protocol` when its
 *   output is larger than `maxOutputBytes`
 */
export async function execInGuest(
  agent: GuestAgent,
  path: string,
  args: readonly string[],
  options: GuestExecOptions,
): Promise<GuestExecResult> {
  const { captureOutput = true, timeoutMs = 60_000, signal, input, environment } = options;
  const maxOutputBytes = captureOutput
    ? Math.min(options.maxOutputBytes ?? DEFAULT_MAX_OUTPUT_BYTES, MAX_OUTPUT_BYTES)
    : 0;
  const deadline = performance.now() + timeoutMs;
  const leftMs = (): number => Math.max(1, deadline - performance.now());
  const callMs = (): number => Math.min(Math.max(leftMs(), SHORTEST_CALL_TIMEOUT_MS), CALL_TIMEOUT_MS);
  const request = {
    path,
    arg: args,
    'capture-output': captureOutput,
    ...(input === undefined ? {} : { 'input-data': inputBytes(input).toString('base64') }),
    ...(environment === undefined ? {} : { env: environment }),
  };
  const started = await agent.call('guest-exec', request, { timeoutMs: callMs(), signal });
  const pid = replies.parseReply(replies.execReply, started, 'guest-exec');
  options.onStarted?.(pid);
  // Both outputs in base64.
  const maxReplyBytes = 2 * Math.ceil((maxOutputBytes * 4) / 3) + REPLY_FRAME_BYTES;
  for (let intervalMs = FIRST_POLL_MS; ; intervalMs = Math.min(intervalMs * 2, LAST_POLL_MS)) {
    const answer = await agent.call('guest-exec-status', { pid }, { timeoutMs: callMs(), signal, maxReplyBytes });
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

function inputBytes(input: Uint8Array | string): Buffer {
  return typeof input === 'string' ? Buffer.from(input, 'utf8') : Buffer.from(input);
}
