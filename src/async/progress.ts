/** What long work tells its caller: monotonic within a phase, at most every 100 ms, and once at the end of each phase. */
export interface Progress {
  readonly phase: string;
  readonly done: number;
  /** Absent where the end is not known. */
  readonly total?: number;
}

export type OnProgress = (progress: Progress) => void;

/** The last argument of every long call. What an abort does is said in the call's own documentation. */
export interface LongOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

const THROTTLE_MS = 100;

/** Wraps a listener so that it hears of progress rarely, never backwards, and always of the end of a phase. */
export function throttleProgress(listener: OnProgress | undefined): OnProgress {
  if (!listener) return () => {};
  let phase = '';
  let done = -1;
  let toldAt = 0;
  return (progress) => {
    const now = Date.now();
    const isNewPhase = progress.phase !== phase;
    if (!isNewPhase && progress.done <= done) return;
    const isEnd = progress.total !== undefined && progress.done >= progress.total;
    phase = progress.phase;
    done = progress.done;
    if (!isNewPhase && !isEnd && now - toldAt < THROTTLE_MS) return;
    toldAt = now;
    listener(progress);
  };
}
