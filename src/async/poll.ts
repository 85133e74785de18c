import { HvError } from '../errors/index.ts';
import { sleep } from './abort.ts';

export interface PollOptions {
  readonly timeoutMs: number;
  readonly intervalMs?: number;
  readonly signal?: AbortSignal | undefined;
  /** Completes the sentence "timed out while …". */
  readonly doing: string;
}

/** Asks again until an answer other than undefined comes; only for what offers no event. Rejects with `timeout` or `aborted`. */
export async function poll<T>(ask: () => Promise<T | undefined> | T | undefined, options: PollOptions): Promise<T> {
  const { timeoutMs, intervalMs = 50, signal, doing } = options;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    const leftMs = deadline - performance.now();
    if (leftMs <= 0) {
      throw new HvError('timeout', `timed out after ${Math.round(timeoutMs / 100) / 10} s while ${doing}`, {
        detail: { timeoutMs },
      });
    }
    await sleep(Math.min(intervalMs, leftMs), { signal });
  }
}
