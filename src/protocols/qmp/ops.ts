import { poll } from '../../async/index.ts';
import { HvError, isHvError } from '../../errors/index.ts';
import type { JsonObject } from '../json-lines.ts';
import type { QmpCallOptions, QmpClient } from './qmp-client.ts';
import { isJsonObject, malformedAnswer } from './wire.ts';

/** QEMU's RunState (qapi/run-state.json, 7.2 to 9). */
export const QEMU_RUN_STATES = [
  'debug',
  'inmigrate',
  'internal-error',
  'io-error',
  'paused',
  'postmigrate',
  'prelaunch',
  'finish-migrate',
  'restore-vm',
  'running',
  'save-vm',
  'shutdown',
  'suspended',
  'watchdog',
  'guest-panicked',
  'colo',
] as const;

export type QemuRunState = (typeof QEMU_RUN_STATES)[number];

export interface QemuStatus {
  /** `unknown` for a state that this version of hv has not heard of; `text` then says which. */
  readonly state: QemuRunState | 'unknown';
  readonly text: string;
  readonly isRunning: boolean;
}

/** query-status. */
export async function queryStatus(client: QmpClient, options?: QmpCallOptions): Promise<QemuStatus> {
  const reply = asObject(await client.execute('query-status', {}, options), 'query-status');
  const text = asString(reply.status, 'query-status', 'status');
  const state = QEMU_RUN_STATES.find((known) => known === text) ?? 'unknown';
  return { state, text, isRunning: reply.running === true };
}

/** Pauses the virtual processors. Returns after QEMU has drained and flushed every disk: the barrier for swapping layers. */
export async function stop(client: QmpClient, options?: QmpCallOptions): Promise<void> {
  await client.execute('stop', {}, options);
}

export async function cont(client: QmpClient, options?: QmpCallOptions): Promise<void> {
  await client.execute('cont', {}, options);
}

/** Presses the ACPI power button; whether the guest obeys shows in the event SHUTDOWN only. */
export async function systemPowerdown(client: QmpClient, options?: QmpCallOptions): Promise<void> {
  await client.execute('system_powerdown', {}, options);
}

export async function systemReset(client: QmpClient, options?: QmpCallOptions): Promise<void> {
  await client.execute('system_reset', {}, options);
}

/** Ends QEMU at once and waits until its monitor is gone. */
export async function quit(client: QmpClient, options: QmpCallOptions = {}): Promise<void> {
  const { timeoutMs = 10_000 } = options;
  try {
    await client.execute('quit', {}, { ...options, timeoutMs });
  } catch (error) {
    // QEMU may be gone before its answer is.
    if (!client.isClosed) throw error;
  }
  await poll(() => (client.isClosed ? true : undefined), {
    timeoutMs,
    intervalMs: 2,
    signal: options.signal,
    doing: 'waiting for QEMU to end',
  });
}

/** The `-name` that QEMU was started with, if any: what re-adoption compares. */
export async function queryName(client: QmpClient, options?: QmpCallOptions): Promise<string | undefined> {
  const reply = asObject(await client.execute('query-name', {}, options), 'query-name');
  return typeof reply.name === 'string' ? reply.name : undefined;
}

export interface QemuCpu {
  readonly index: number;
  /** The host thread that runs it. */
  readonly threadId: number;
  readonly qomPath: string;
}

/** query-cpus-fast: does not interrupt the guest. */
export async function queryCpus(client: QmpClient, options?: QmpCallOptions): Promise<readonly QemuCpu[]> {
  const reply = await client.execute('query-cpus-fast', {}, options);
  if (!Array.isArray(reply)) throw malformedAnswer('query-cpus-fast', 'a list');
  return reply.map((entry: unknown) => {
    const cpu = asObject(entry, 'query-cpus-fast');
    return {
      index: asCount(cpu['cpu-index'], 'query-cpus-fast', 'cpu-index'),
      threadId: asCount(cpu['thread-id'], 'query-cpus-fast', 'thread-id'),
      qomPath: asString(cpu['qom-path'], 'query-cpus-fast', 'qom-path'),
    };
  });
}

/**
 * How much memory the guest has now, in bytes; undefined without a balloon device.
 * This is the final value after a change: the event BALLOON_CHANGE reports the way there.
 */
export async function queryBalloon(client: QmpClient, options?: QmpCallOptions): Promise<number | undefined> {
  try {
    const reply = asObject(await client.execute('query-balloon', {}, options), 'query-balloon');
    return asCount(reply.actual, 'query-balloon', 'actual');
  } catch (error) {
    if (isHvError(error, 'invalid-state') && error.detail.class === 'DeviceNotActive') return undefined;
    throw error;
  }
}

/** Asks the guest's balloon for a new size of its memory; the guest takes its time or refuses silently. */
export async function setBalloon(client: QmpClient, sizeBytes: number, options?: QmpCallOptions): Promise<void> {
  await client.execute('balloon', { value: sizeBytes }, options);
}

/** Has QEMU write the display into a PNG file (7.1 or later). QEMU opens the path: it must be absolute and writable by it. */
export async function screendumpPng(
  client: QmpClient,
  pngPath: string,
  options: QmpCallOptions & { readonly device?: string } = {},
): Promise<void> {
  const { device, ...call } = options;
  await client.execute('screendump', { filename: pngPath, format: 'png', ...(device ? { device } : {}) }, call);
}

/** Presses these keys together (QKeyCode names: ctrl, alt, delete, ret, a) and lets them go. */
export async function sendKey(
  client: QmpClient,
  keys: readonly string[],
  options: QmpCallOptions & { readonly holdTimeMs?: number } = {},
): Promise<void> {
  const { holdTimeMs, ...call } = options;
  await client.execute(
    'send-key',
    {
      keys: keys.map((data) => ({ type: 'qcode', data })),
      ...(holdTimeMs === undefined ? {} : { 'hold-time': holdTimeMs }),
    },
    call,
  );
}

/** Adds a block node; `node` is BlockdevOptions with `node-name` (qapi/block-core.json). */
export async function blockdevAdd(client: QmpClient, node: JsonObject, options?: QmpCallOptions): Promise<void> {
  await client.execute('blockdev-add', node, options);
}

export async function blockdevDelete(client: QmpClient, nodeName: string, options?: QmpCallOptions): Promise<void> {
  await client.execute('blockdev-del', { 'node-name': nodeName }, options);
}

/** Points existing nodes to other files or servers under the running guest. */
export async function blockdevReopen(
  client: QmpClient,
  nodes: readonly JsonObject[],
  options?: QmpCallOptions,
): Promise<void> {
  await client.execute('blockdev-reopen', { options: nodes }, options);
}

/** Tells the guest a node's new size. Growing an NBD node needs a `raw` node above it that was reopened first. */
export async function blockResize(
  client: QmpClient,
  nodeName: string,
  sizeBytes: number,
  options?: QmpCallOptions,
): Promise<void> {
  await client.execute('block_resize', { 'node-name': nodeName, size: sizeBytes }, options);
}

/** Plugs a device in; `device` holds `driver`, `id` and the driver's properties. */
export async function deviceAdd(client: QmpClient, device: JsonObject, options?: QmpCallOptions): Promise<void> {
  await client.execute('device_add', device, options);
}

/**
 * Unplugs a device and waits until the guest has let it go (DEVICE_DELETED). Only then may its block node be deleted.
 *
 * @throws HvError `not-found`, `guest-failed` (the guest refused), `timeout` (the guest does not answer; it may still
 *   let go later), and as `execute`
 */
export async function deviceDelete(client: QmpClient, deviceId: string, options: QmpCallOptions = {}): Promise<void> {
  const done = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, done.signal]) : done.signal;
  const isOurs = (event: { readonly data: JsonObject }): boolean => event.data.device === deviceId;
  const deleted = client.waitForEvent('DEVICE_DELETED', isOurs, { ...options, signal });
  // QEMU 7.2 says it through both, depending on the device.
  const refused = [
    client.waitForEvent('DEVICE_UNPLUG_GUEST_ERROR', isOurs, { ...options, signal }),
    client.waitForEvent('MEM_UNPLUG_ERROR', isOurs, { ...options, signal }),
  ];
  try {
    await client.execute('device_del', { id: deviceId }, options);
    await Promise.race([
      deleted,
      ...refused.map((event) =>
        event.then(() => {
          throw new HvError('guest-failed', `the guest refused to let go of ${deviceId}`, { detail: { deviceId } });
        }),
      ),
    ]);
  } catch (error) {
    if (!isHvError(error, 'timeout')) throw error;
    throw new HvError('timeout', `the guest has not let go of ${deviceId}`, {
      detail: { deviceId, ...error.detail },
      hint: 'The guest must be running and its drivers must support hot-unplug; the device may still go away later.',
      cause: error,
    });
  } finally {
    done.abort();
  }
}

/** Whether the guest holds the port on this character device open now; later changes come as VSERPORT_CHANGE. */
export async function isChardevOpen(client: QmpClient, label: string, options?: QmpCallOptions): Promise<boolean> {
  const reply = await client.execute('query-chardev', {}, options);
  if (!Array.isArray(reply)) throw malformedAnswer('query-chardev', 'a list');
  return reply.some(
    (entry: unknown) => isJsonObject(entry) && entry.label === label && entry['frontend-open'] === true,
  );
}

/** Lowers or raises a NIC's carrier. */
export async function setLink(client: QmpClient, name: string, isUp: boolean, options?: QmpCallOptions): Promise<void> {
  await client.execute('set_link', { name, up: isUp }, options);
}

/** Sets a property of a QEMU object, such as `bootindex` of `/machine/peripheral/<id>`. */
export async function qomSet(
  client: QmpClient,
  path: string,
  property: string,
  value: string | number | boolean,
  options?: QmpCallOptions,
): Promise<void> {
  await client.execute('qom-set', { path, property, value }, options);
}

export function asObject(value: unknown, command: string): JsonObject {
  if (!isJsonObject(value)) throw malformedAnswer(command, 'an object');
  return value;
}

export function asString(value: unknown, command: string, field: string): string {
  if (typeof value !== 'string') throw malformedAnswer(command, `text in ${field}`);
  return value;
}

export function asCount(value: unknown, command: string, field: string): number {
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0)
    throw malformedAnswer(command, `a number in ${field}`);
  return value;
}
