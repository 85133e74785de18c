import { sleep } from '../../../async/index.ts';
import { type QmpClient, sendKey } from '../../../protocols/qmp/index.ts';

const HOLD_MS = 20;
/** QEMU queues what it is told, and drops what a slow guest has not taken: so it is told no faster than a fast typist types. */
const INTERVAL_MS = 40;

/** Presses sets of keys, by QEMU's names, one after the other. */
export async function pressKeys(
  monitor: QmpClient,
  presses: readonly (readonly string[])[],
  signal: AbortSignal,
): Promise<void> {
  for (const keys of presses) {
    await sendKey(monitor, keys, { holdTimeMs: HOLD_MS, signal });
    await sleep(INTERVAL_MS, { signal });
  }
}
