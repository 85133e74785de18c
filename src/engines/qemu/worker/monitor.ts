import { HvError } from '../../../errors/index.ts';
import { QmpClient, type QmpListener } from '../../../protocols/qmp/index.ts';
import type { QemuProcess } from './qemu-process.ts';

const MONITOR_TIMEOUT_MS = 30_000;

/** Connects to the monitor as soon as it is there; gives up when QEMU ends first. */
export async function connectMonitor(socketPath: string, qemu: QemuProcess, onEvent: QmpListener): Promise<QmpClient> {
  const gone = new AbortController();
  void qemu.exited.then(
    () => gone.abort(new HvError('process-failed', 'QEMU ended before it could be talked to')),
    (error: unknown) => gone.abort(error),
  );
  return QmpClient.connect(socketPath, {
    waitForSocketMs: MONITOR_TIMEOUT_MS,
    greetingTimeoutMs: MONITOR_TIMEOUT_MS,
    onEvent,
    signal: gone.signal,
  });
}
