import { sleep } from '../../../async/index.ts';
import { isHvError } from '../../../errors/index.ts';
import type { DataPlane, StartedMerge, StartMergeOptions } from '../../../protocols/nbd/index.ts';
import type { OrderControl } from './two-step.ts';

/** Somebody who only looks at a layer holds it for a moment. */
const HELD_FOR_A_MOMENT_MS = 1000;

/** Copies everything, waiting for whoever just looks at one of the files. @throws HvError as DataPlane.startMerge */
export async function startMergeSoon(
  dataPlane: DataPlane,
  options: StartMergeOptions,
  { signal, onProgress }: OrderControl,
): Promise<StartedMerge> {
  const deadline = performance.now() + HELD_FOR_A_MOMENT_MS;
  for (;;) {
    try {
      return await dataPlane.startMerge(options, {
        signal,
        onProgress: ({ phase, done, total }) => onProgress(phase, done, total),
      });
    } catch (error) {
      if (!isHvError(error, 'in-use') || performance.now() > deadline) throw error;
    }
    await sleep(20, { signal });
  }
}
