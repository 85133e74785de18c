import { abortedError, deferred } from '../../async/index.ts';
import { HvError } from '../../errors/index.ts';
import { DataPlane } from './data-plane.ts';
import type { AddExportOptions, AddedExport } from './data-plane-messages.ts';

export interface ServeDiskOptions extends Omit<AddExportOptions, 'name'> {
  readonly socketPath: string;
  /** Permissions of the socket; 0o600 unless told otherwise. */
  readonly mode?: number;
  /** Ends the service orderly: connections are ended, the disk is flushed and closed. */
  readonly signal: AbortSignal;
  /** Called once clients can connect. */
  readonly onListening?: (served: ServedDisk) => void;
}

export interface ServedDisk extends AddedExport {
  /** How clients of NBD name the disk. */
  readonly uri: string;
}

/**
 * Serves one disk over NBD on a Unix socket, as the default export, until the signal fires.
 * @returns once everything is flushed and closed
 * @throws HvError what opening says (`not-found`, `in-use`, `corrupt`, `parent-changed`), what listening says
 *   (`in-use`, `invalid-argument`), `process-failed` when the serving thread dies, `aborted` when the signal had
 *   fired before
 */
export async function serveDisk(options: ServeDiskOptions): Promise<void> {
  const { socketPath, mode, signal, onListening, ...disk } = options;
  if (signal.aborted) throw abortedError(signal, `serving ${options.path}`);
  const ended = deferred<void>();
  const onAbort = (): void => ended.resolve();
  const plane = await DataPlane.start({ onFailure: (error) => ended.reject(error) });
  // Failing before anyone waits must not be an unhandled rejection.
  ended.promise.catch(() => {});
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    const added = await plane.addExport({ ...disk, name: '' });
    await plane.listen(socketPath, mode === undefined ? {} : { mode });
    onListening?.({ ...added, uri: uriOf(socketPath) });
    if (signal.aborted) ended.resolve();
    await ended.promise;
  } finally {
    signal.removeEventListener('abort', onAbort);
    await plane.close();
  }
}

function uriOf(socketPath: string): string {
  if (socketPath === '') throw new HvError('invalid-argument', 'the socket needs a path');
  return `nbd+unix:///?socket=${socketPath.split('/').map(encodeURIComponent).join('/')}`;
}
