/** async: lifetime, cancellation, progress, mutual exclusion, polling. Imports errors only. */
export { abortedError, sleep, throwIfAborted, withDeadline } from './abort.ts';
export { type Deferred, deferred, Undo } from './lifetime.ts';
export { Mutex, mapBounded } from './mutex.ts';
export { type PollOptions, poll } from './poll.ts';
export { type LongOptions, type OnProgress, type Progress, throttleProgress } from './progress.ts';
