import { type LongOptions, throttleProgress, throwIfAborted } from '../../async/index.ts';
import type { FollowingCopy } from '../../disk/index.ts';

/**
 * Works a copy off between the requests of those who use the disk: after each slice everything that waits on this thread
 * has its turn.
 * @throws HvError `aborted`, and what `step` throws
 */
export async function runSlices(
  copy: FollowingCopy,
  step: () => void,
  { signal, onProgress }: LongOptions,
  doing: 'merging' | 'mirroring',
): Promise<void> {
  const report = throttleProgress(onProgress);
  const total = copy.sizeBytes;
  const phase = doing === 'merging' ? 'merge' : 'mirror';
  report({ phase, done: copy.position, total });
  while (!copy.isComplete) {
    throwIfAborted(signal, doing);
    step();
    report({ phase, done: copy.position, total });
    await new Promise(setImmediate);
  }
}
