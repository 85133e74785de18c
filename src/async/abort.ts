import { HvError } from '../errors/index.ts';

/** Throws `aborted` when the signal has fired. The reason is kept as the cause. */
export function throwIfAborted(signal: AbortSignal | undefined, doing = 'the operation'): void {
  if (signal?.aborted) throw abortedError(signal, doing);
}

export function abortedError(signal: AbortSignal, doing = 'the operation'): HvError {
  const reason: unknown = signal.reason;
  if (reason instanceof HvError) return reason;
  return new HvError('aborted', `${doing} was cancelled`, { cause: reason });
}

/** Waits; rejects with `aborted` as soon as the signal fires. */
export function sleep(durationMs: number, options: { signal?: AbortSignal | undefined } = {}): Promise<void> {
  const { signal } = options;
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(abortedError(signal));
      return;
    }
    const onAbort = (): void => {
      clearTimeout(timer);
      if (signal) reject(abortedError(signal));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, durationMs);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/**
 * Waits for `work` at most `timeoutMs`; then rejects with `timeout`. The work itself is not stopped:
 * whoever owns it must be told through its own signal.
 */
export async function withDeadline<T>(
  work: Promise<T>,
  timeoutMs: number,
  doing: string,
  options: { signal?: AbortSignal | undefined } = {},
): Promise<T> {
  const { signal } = options;
  let timer: NodeJS.Timeout | undefined;
  let onAbort: (() => void) | undefined;
  try {
    return await Promise.race([
      work,
      new Promise<never>((_resolve, reject) => {
        timer = setTimeout(
          () => reject(new HvError('timeout', `${doing} took longer than ${timeoutMs} ms`, { detail: { timeoutMs } })),
          timeoutMs,
        );
        if (signal) {
          onAbort = () => reject(abortedError(signal, doing));
          if (signal.aborted) onAbort();
          else signal.addEventListener('abort', onAbort, { once: true });
        }
      }),
    ]);
  } finally {
    clearTimeout(timer);
    if (onAbort) signal?.removeEventListener('abort', onAbort);
  }
}
