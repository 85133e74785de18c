import type { OnProgress } from '../../async/index.ts';
import { sleep, throttleProgress } from '../../async/index.ts';
import { HvError, isHvError } from '../../errors/index.ts';
import { printableGuestText } from '../printable-text.ts';
import { checkSocketPath } from '../unix-socket.ts';
import { asCount, asObject, asString, cont, type QemuStatus, queryStatus, stop } from './ops.ts';
import type { QmpCallOptions, QmpClient } from './qmp-client.ts';
import { isJsonObject } from './wire.ts';

/** QEMU's MigrationStatus (qapi/migration.json), and `none` where no migration has been asked for. */
export const MIGRATION_STATES = [
  'none',
  'setup',
  'cancelling',
  'cancelled',
  'active',
  'postcopy-active',
  'postcopy-paused',
  'postcopy-recover',
  'completed',
  'failed',
  'colo',
  'pre-switchover',
  'device',
  'wait-unplug',
] as const;

export type MigrationState = (typeof MIGRATION_STATES)[number];

export interface MigrationStatus {
  readonly state: MigrationState | 'unknown';
  readonly text: string;
  readonly transferredBytes: number;
  /** The guest's memory; 0 before the first pass. */
  readonly totalBytes: number;
  readonly remainingBytes: number;
  /** QEMU's own words about a failure. */
  readonly error: string | undefined;
}

/** query-migrate. */
export async function queryMigrate(client: QmpClient, options?: QmpCallOptions): Promise<MigrationStatus> {
  const reply = asObject(await client.execute('query-migrate', {}, options), 'query-migrate');
  const text = reply.status === undefined ? 'none' : asString(reply.status, 'query-migrate', 'status');
  const ram = isJsonObject(reply.ram) ? reply.ram : { transferred: 0, total: 0, remaining: 0 };
  return {
    state: MIGRATION_STATES.find((known) => known === text) ?? 'unknown',
    text,
    transferredBytes: asCount(ram.transferred, 'query-migrate', 'transferred'),
    totalBytes: asCount(ram.total, 'query-migrate', 'total'),
    remainingBytes: asCount(ram.remaining, 'query-migrate', 'remaining'),
    error: typeof reply['error-desc'] === 'string' ? printableGuestText(reply['error-desc']) : undefined,
  };
}

export interface MigrateOptions {
  /** An abort cancels the migration in QEMU and waits for that; the guest goes on as it was. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** Default 600,000. */
  readonly timeoutMs?: number | undefined;
  /** Lets a running guest run on while its memory as of now is written (needs userfaultfd write-protect). */
  readonly isBackgroundSnapshot?: boolean | undefined;
}

const DEFAULT_MIGRATION_TIMEOUT_MS = 600_000;
/** No limit worth the name; QEMU's own default is 128 MiB/s. 2 ** 40, for 1 << 40 is 256. */
const UNLIMITED_BYTES_PER_SECOND = 2 ** 40;
const FIRST_POLL_MS = 2;
const LAST_POLL_MS = 100;

/**
 * Writes the guest's memory and devices to the server of a unix socket, and waits for the end. Afterwards a guest that
 * was migrated plainly is stopped in `postmigrate`; one with a background snapshot runs on.
 *
 * @throws HvError `process-failed` (QEMU's reason in the message), `unsupported`, `timeout`, `aborted`
 */
export async function migrateToUnixSocket(
  client: QmpClient,
  socketPath: string,
  options: MigrateOptions = {},
): Promise<MigrationStatus> {
  const { signal, timeoutMs = DEFAULT_MIGRATION_TIMEOUT_MS } = options;
  checkSocketPath(socketPath);
  await client.execute('migrate-set-parameters', { 'max-bandwidth': UNLIMITED_BYTES_PER_SECOND }, { signal });
  await setCapabilities(client, options.isBackgroundSnapshot === true, signal);
  // QEMU takes all that follows "unix:" as the path: nothing in it needs escaping.
  await client.execute('migrate', { uri: `unix:${socketPath}` }, { signal });
  try {
    return await waitMigrated(client, timeoutMs, signal, options.onProgress);
  } catch (error) {
    if (!client.isClosed && isHvError(error) && (error.code === 'aborted' || error.code === 'timeout')) {
      await cancelMigration(client);
    }
    throw error;
  }
}

/** Cancels the outgoing migration and waits until QEMU has; one that completed meanwhile stays completed. */
export async function cancelMigration(client: QmpClient): Promise<MigrationStatus> {
  await client.execute('migrate_cancel');
  const deadline = performance.now() + 30_000;
  for (;;) {
    const status = await queryMigrate(client);
    if (isFinal(status)) return status;
    if (performance.now() > deadline) throw new HvError('timeout', 'QEMU did not cancel its migration');
    await sleep(FIRST_POLL_MS);
  }
}

/** Has a QEMU that was started with `-incoming defer` listen on a unix socket for its state. */
export async function migrateIncoming(client: QmpClient, socketPath: string, options?: QmpCallOptions): Promise<void> {
  checkSocketPath(socketPath);
  await client.execute('migrate-incoming', { uri: `unix:${socketPath}` }, options);
}

/**
 * Waits until an incoming QEMU has taken its state in.
 *
 * @throws HvError `process-failed`: QEMU refuses a state by ending; its log says why
 */
export async function waitIncoming(
  client: QmpClient,
  options: { readonly timeoutMs?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<QemuStatus> {
  return await waitStatus(client, (status) => status.state !== 'inmigrate', 'taking in the saved state', options);
}

/** Waits until a guest that was migrated away is stopped for good: only then does `cont` work. */
export async function waitPostmigrate(
  client: QmpClient,
  options: { readonly timeoutMs?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<QemuStatus> {
  return await waitStatus(client, (status) => status.state === 'postmigrate', 'ending the migration', options);
}

/**
 * Makes a guest that was saved while paused an ordinarily paused one again: QEMU refuses to migrate out of `postmigrate`
 * a second time, and only running leads out of it. Both commands leave together, so the guest runs for the time between
 * two commands of one monitor (well under a millisecond).
 */
export async function returnToPaused(client: QmpClient, options?: QmpCallOptions): Promise<void> {
  await Promise.all([cont(client, options), stop(client, options)]);
}

async function setCapabilities(
  client: QmpClient,
  isBackgroundSnapshot: boolean,
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    await client.execute(
      'migrate-set-capabilities',
      {
        capabilities: [
          { capability: 'events', state: true },
          { capability: 'background-snapshot', state: isBackgroundSnapshot },
        ],
      },
      { signal },
    );
  } catch (error) {
    if (!isBackgroundSnapshot || !isHvError(error, 'process-failed') || client.isClosed) throw error;
    throw new HvError('unsupported', 'this kernel or QEMU cannot write the memory of a running guest', {
      hint: 'Pause the virtual machine, or let its memory be saved with a pause.',
      cause: error,
    });
  }
}

async function waitMigrated(
  client: QmpClient,
  timeoutMs: number,
  signal: AbortSignal | undefined,
  onProgress: OnProgress | undefined,
): Promise<MigrationStatus> {
  const tell = throttleProgress(onProgress);
  // The event ends a wait early; polling stays, for progress and for a QEMU that sends no events.
  let wake = new AbortController();
  const stopListening = client.onEvent((event) => {
    if (event.name === 'MIGRATION') wake.abort();
  });
  const deadline = performance.now() + timeoutMs;
  try {
    for (let intervalMs = FIRST_POLL_MS; ; intervalMs = Math.min(intervalMs * 2, LAST_POLL_MS)) {
      const status = await queryMigrate(client, { signal });
      tell({
        phase: 'memory',
        done: Math.max(0, status.totalBytes - status.remainingBytes),
        ...(status.totalBytes > 0 ? { total: status.totalBytes } : {}),
      });
      if (status.state === 'completed') return status;
      if (isFinal(status)) {
        throw new HvError('process-failed', `QEMU could not write the guest's state: ${status.error ?? status.text}`, {
          detail: { migration: status.text },
        });
      }
      if (performance.now() > deadline) {
        throw new HvError('timeout', `writing the guest's state took longer than ${timeoutMs} ms`, {
          detail: { timeoutMs },
        });
      }
      await pause(intervalMs, wake.signal, signal);
      wake = new AbortController();
    }
  } finally {
    stopListening();
  }
}

/** Sleeps until the time is over or `wake` fires; rejects with `aborted` when `signal` does. */
async function pause(durationMs: number, wake: AbortSignal, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(durationMs, { signal: signal ? AbortSignal.any([signal, wake]) : wake });
  } catch (error) {
    if (signal?.aborted || !wake.aborted) throw error;
  }
}

function isFinal(status: MigrationStatus): boolean {
  return (
    status.state === 'completed' || status.state === 'failed' || status.state === 'cancelled' || status.state === 'none'
  );
}

async function waitStatus(
  client: QmpClient,
  isReached: (status: QemuStatus) => boolean,
  doing: string,
  options: { readonly timeoutMs?: number | undefined; readonly signal?: AbortSignal | undefined },
): Promise<QemuStatus> {
  const { timeoutMs = 60_000, signal } = options;
  const deadline = performance.now() + timeoutMs;
  for (let intervalMs = FIRST_POLL_MS; ; intervalMs = Math.min(intervalMs * 2, LAST_POLL_MS)) {
    const status = await queryStatus(client, { signal });
    if (isReached(status)) return status;
    if (performance.now() > deadline) {
      throw new HvError('timeout', `QEMU is still ${status.text} after ${timeoutMs} ms of ${doing}`, {
        detail: { timeoutMs, state: status.text },
      });
    }
    await sleep(intervalMs, { signal });
  }
}
