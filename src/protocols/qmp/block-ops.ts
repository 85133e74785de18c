import { asCount, asObject } from './ops.ts';
import type { QmpCallOptions, QmpClient } from './qmp-client.ts';
import { isJsonObject, malformedAnswer } from './wire.ts';

/** Bounds on what a device asks of its disk; 0 stands for none. */
export interface IoThrottle {
  readonly bytesPerSecond: number;
  readonly operationsPerSecond: number;
  /** So many bytes of a request count as one operation; 0: a request is one, however long. */
  readonly operationBytes: number;
}

/** A device with a medium, or for one, as query-block knows it. */
export interface QemuBlockDevice {
  /** The id of the guest's device; undefined where a node has none. */
  readonly deviceId: string | undefined;
  /** The node of its medium; undefined where it is empty. */
  readonly nodeName: string | undefined;
  readonly isTrayOpen: boolean;
  readonly throttle: IoThrottle;
}

/** query-block. */
export async function queryBlockDevices(client: QmpClient, options?: QmpCallOptions): Promise<QemuBlockDevice[]> {
  return asList(await client.execute('query-block', {}, options), 'query-block').map((entry) => {
    const device = asObject(entry, 'query-block');
    const inserted = isJsonObject(device.inserted) ? device.inserted : {};
    return {
      deviceId: typeof device.qdev === 'string' ? device.qdev : undefined,
      nodeName: typeof inserted['node-name'] === 'string' ? inserted['node-name'] : undefined,
      isTrayOpen: device.tray_open === true,
      throttle: {
        bytesPerSecond: asBound(inserted.bps),
        operationsPerSecond: asBound(inserted.iops),
        operationBytes: asBound(inserted.iops_size),
      },
    };
  });
}

/** The names of all block nodes. */
export async function queryNodeNames(client: QmpClient, options?: QmpCallOptions): Promise<ReadonlySet<string>> {
  const command = 'query-named-block-nodes';
  const nodes = asList(await client.execute(command, { flat: true }, options), command);
  return new Set(
    nodes.flatMap((node) => (isJsonObject(node) && typeof node['node-name'] === 'string' ? [node['node-name']] : [])),
  );
}

/** block_set_io_throttle: from the next request on. */
export async function setIoThrottle(
  client: QmpClient,
  deviceId: string,
  throttle: IoThrottle,
  options?: QmpCallOptions,
): Promise<void> {
  const { bytesPerSecond: bps, operationsPerSecond: iops, operationBytes } = throttle;
  const each = { bps_rd: 0, bps_wr: 0, iops_rd: 0, iops_wr: 0 };
  await client.execute(
    'block_set_io_throttle',
    { id: deviceId, bps, iops, iops_size: operationBytes, ...each },
    options,
  );
}

/** Opens the tray of a drive, also where the guest has locked it. */
export async function openTray(client: QmpClient, deviceId: string, options?: QmpCallOptions): Promise<void> {
  await client.execute('blockdev-open-tray', { id: deviceId, force: true }, options);
}

export async function closeTray(client: QmpClient, deviceId: string, options?: QmpCallOptions): Promise<void> {
  await client.execute('blockdev-close-tray', { id: deviceId }, options);
}

/** Takes the medium out of a drive whose tray is open; its node stays. */
export async function removeMedium(client: QmpClient, deviceId: string, options?: QmpCallOptions): Promise<void> {
  await client.execute('blockdev-remove-medium', { id: deviceId }, options);
}

/** Puts a node into a drive whose tray is open. */
export async function insertMedium(
  client: QmpClient,
  deviceId: string,
  nodeName: string,
  options?: QmpCallOptions,
): Promise<void> {
  await client.execute('blockdev-insert-medium', { id: deviceId, 'node-name': nodeName }, options);
}

/** The names of the objects directly under another, such as the devices with an id under `/machine/peripheral`. */
export async function qomList(client: QmpClient, path: string, options?: QmpCallOptions): Promise<readonly string[]> {
  const entries = asList(await client.execute('qom-list', { path }, options), 'qom-list');
  return entries.flatMap((entry) =>
    isJsonObject(entry) && typeof entry.name === 'string' && String(entry.type).startsWith('child<')
      ? [entry.name]
      : [],
  );
}

/** A property of a QEMU object. */
export function qomGet(client: QmpClient, path: string, property: string, options?: QmpCallOptions): Promise<unknown> {
  return client.execute('qom-get', { path, property }, options);
}

function asList(value: unknown, command: string): readonly unknown[] {
  if (!Array.isArray(value)) throw malformedAnswer(command, 'a list');
  return value;
}

function asBound(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : 0;
}

/** What a device has read and written since QEMU's start. */
export interface BlockTraffic {
  /** The device's place in QEMU's tree: its last or last but one part is the id it was given. */
  readonly qomPath: string;
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly readOperations: number;
  readonly writeOperations: number;
}

/** query-blockstats, the devices of the guest alone. */
export async function queryBlockTraffic(client: QmpClient, options?: QmpCallOptions): Promise<readonly BlockTraffic[]> {
  const reply = await client.execute('query-blockstats', {}, options);
  if (!Array.isArray(reply)) throw malformedAnswer('query-blockstats', 'a list');
  return reply.flatMap((entry: unknown) => {
    const { qdev, stats } = asObject(entry, 'query-blockstats');
    if (typeof qdev !== 'string') return [];
    const counts = asObject(stats, 'query-blockstats');
    const count = (field: string): number => asCount(counts[field], 'query-blockstats', field);
    return [
      {
        qomPath: qdev,
        readBytes: count('rd_bytes'),
        writtenBytes: count('wr_bytes'),
        readOperations: count('rd_operations'),
        writeOperations: count('wr_operations'),
      },
    ];
  });
}
