import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { sleep, withDeadline } from '../../../async/index.ts';
import {
  type AttachedPartition,
  type OpenDisk,
  openVhd,
  type Partition,
  readPartitionTable,
} from '../../../disk/index.ts';
import { HvError, isHvError } from '../../../errors/index.ts';
import { mountFuse } from '../../../protocols/fuse/index.ts';
import { NbdServer } from '../../../protocols/nbd/index.ts';
import { type MountPaths, mountPaths, resolvePaths, writeMountRecord } from '../../../state/index.ts';
import { bootId, dropPrivileges, isRoot, ownIdentity, runProgram, waitForExit } from '../../../system/index.ts';
import { type Connection, ControlServer } from '../control/server.ts';
import { log } from '../log.ts';
import { kernelPartition } from './kernel-state.ts';
import { attachNbd, NBD_EXPORT } from './nbd-device.ts';
import { endRequestSchema, type MountOrder } from './wire.ts';

const DISK_FILE = 'disk.raw';
const PROGRAM_DEADLINE_MS = 30_000;
/** Whoever ordered the end unmounts the files or detaches the device then; when that fails, the disk stays. */
const UNSHOWN_MS = 30_000;
/** Users that no machine and nobody else has: one for each mounted disk, by the number of its folder. */
const FIRST_USER = 0x7a00_0000;
const USER_COUNT = 0x10_0000;

/** A command that looks at the disk, or a worker that just leaves, holds it for a moment. */
const HELD_FOR_A_MOMENT_MS = 1000;

let ready = false;

/** The record is written: whoever comes finds this worker, though its starter may be gone. */
export function isReady(): boolean {
  return ready;
}

/**
 * Shows one disk until its files are unmounted or its device is detached, then closes it.
 *
 *   as root:   open the disk, show it (files, or an NBD device), make the other devices, mount what is inside if wanted
 *   then:      become a user of its own for good, and answer the kernel
 *
 * Once it is shown nothing here may wait for its files or devices without going on to answer.
 */
export async function serveMount(order: MountOrder): Promise<void> {
  process.title = `hv-mount ${order.path}`;
  const at = mountPaths(resolvePaths({ home: order.home, run: order.run }), order.path);
  const disk = await openSoon(order);
  let hasFailed = false;
  try {
    const partitions = partitionsOf(disk);
    const showing = order.way === 'nbd' ? await showDevice(at, disk) : await showFiles(at, disk, partitions);
    const server = await announce(at, order, disk, partitions, showing);
    let closed: Promise<void> | undefined;
    server.onEnd(async () => {
      await withDeadline(showing.ended, UNSHOWN_MS, 'waiting until nothing shows the disk');
      await closed;
    });
    closed = showing.ended.then(() => disk.close());
    await closed;
    await server.answered();
  } catch (error) {
    hasFailed = true;
    log(`the disk ${order.path} is let go: ${String(error)}`);
    throw error;
  } finally {
    if (hasFailed) await disk.close();
  }
}

/** How the kernel has the disk. */
interface Showing {
  readonly filePath: string;
  /** Null where there are files alone. */
  readonly devicePath: string | null;
  /** Nobody can use the disk any more. */
  readonly ended: Promise<void>;
}

async function showFiles(at: MountPaths, disk: OpenDisk, partitions: readonly Partition[]): Promise<Showing> {
  const views = partitions.map(({ offset, sizeBytes }, index) => ({ name: `part${index + 1}`, offset, sizeBytes }));
  const { ended } = await mountFuse({
    folder: at.files,
    device: disk,
    views: [{ name: DISK_FILE, offset: 0, sizeBytes: disk.sizeBytes }, ...views],
  });
  return { filePath: join(at.files, DISK_FILE), devicePath: null, ended };
}

/** When this process fails or is killed, the device goes away with its connection. */
async function showDevice(at: MountPaths, disk: OpenDisk): Promise<Showing> {
  const server = new NbdServer();
  server.addExport(NBD_EXPORT, disk);
  await server.listen(at.nbdSocket);
  const { devicePath, client } = await attachNbd({
    socketPath: at.nbdSocket,
    sectorSizeBytes: disk.logicalSectorSizeBytes,
    readOnly: disk.readOnly,
  });
  const ended = waitForExit(client).then(() => server.close());
  ended.catch(() => {}); // awaited by whoever shows the disk, unless that comes to nothing
  await readPartitions(devicePath);
  return { filePath: devicePath, devicePath, ended };
}

/** The kernel looks for partitions when a device is opened; through a program, so that its questions are answered here. */
async function readPartitions(devicePath: string): Promise<void> {
  try {
    await runProgram('blockdev', ['--rereadpt', devicePath], { deadlineMs: PROGRAM_DEADLINE_MS });
  } catch (error) {
    if (!isHvError(error, 'process-failed')) throw error;
    log(`the partitions of ${devicePath} are not read again: ${error.message}`); // somebody uses one already
  }
}

async function openSoon({ path, readOnly, allowParents }: MountOrder): Promise<OpenDisk> {
  const deadline = performance.now() + HELD_FOR_A_MOMENT_MS;
  for (;;) {
    try {
      return await openVhd(path, { readOnly, allowParents });
    } catch (error) {
      if (!isHvError(error, 'in-use') || performance.now() > deadline) throw error;
    }
    await sleep(20);
  }
}

/** What lies on the disk. A table that is damaged is no reason not to show it. */
function partitionsOf(disk: OpenDisk): readonly Partition[] {
  try {
    const table = readPartitionTable(disk);
    const found = table.kind === 'none' ? [] : table.partitions;
    return found.filter(({ offset, sizeBytes }) => sizeBytes > 0 && offset + sizeBytes <= disk.sizeBytes);
  } catch (error) {
    if (isHvError(error, 'corrupt')) return [];
    throw error;
  }
}

/** Everything that needs the rights of whoever started this; then they are given up, and the starter is told. */
async function announce(
  at: MountPaths,
  order: MountOrder,
  disk: OpenDisk,
  partitions: readonly Partition[],
  showing: Showing,
): Promise<EndServer> {
  const { filePath } = showing;
  const devicePath = order.way === 'fuse-loop' ? await attachLoop(filePath, disk) : showing.devicePath;
  const shown: AttachedPartition[] = [];
  for (const [index, partition] of partitions.entries()) {
    const number = index + 1;
    const partFile = order.way === 'nbd' ? undefined : join(at.files, `part${number}`);
    const partDevice = devicePath === null ? null : await partitionDevice(devicePath, partition, partFile, disk);
    shown.push({
      number,
      offsetBytes: partition.offset,
      sizeBytes: partition.sizeBytes,
      type: partition.type,
      // Without files it is the device.
      filePath: partFile ?? partDevice ?? filePath,
      devicePath: partDevice,
      mountPath: null,
    });
  }
  const result = order.mountFileSystems ? await mountFileSystems(at, shown, devicePath, disk) : shown;
  const server = await EndServer.listen(at.controlSocket);
  await writeMountRecord(at, {
    schemaVersion: 1,
    path: order.path,
    way: order.way,
    readOnly: disk.readOnly,
    sizeBytes: disk.sizeBytes,
    devicePath,
    filePath,
    partitions: [...result],
    bootId: bootId(),
    worker: ownIdentity(),
    startedTime: new Date().toISOString(),
  });
  if (isRoot()) {
    const uid = FIRST_USER + (Number.parseInt(at.folder.slice(-8), 16) % USER_COUNT);
    dropPrivileges({ uid, gid: uid });
  }
  ready = true;
  process.send?.({ ready: true });
  if (process.connected) process.disconnect();
  return server;
}

/** @param part only a part of the file or device */
async function attachLoop(path: string, disk: OpenDisk, part?: Partition): Promise<string> {
  const limits = part ? ['--offset', String(part.offset), '--sizelimit', String(part.sizeBytes)] : [];
  const { stdout } = await runProgram(
    'losetup',
    [
      ...['--find', '--show', '--partscan', '--sector-size', String(disk.logicalSectorSizeBytes), ...limits],
      ...(disk.readOnly ? ['--read-only'] : []),
      path,
    ],
    { deadlineMs: PROGRAM_DEADLINE_MS },
  );
  const device = stdout.toString('latin1').trim();
  if (/^\/dev\/loop[0-9]+$/.test(device)) return device;
  throw new HvError('process-failed', `losetup named no device: ${JSON.stringify(device)}`);
}

/**
 * The kernel's own device for a partition; where it cannot read the partition table, a loop device over our file of the
 * partition, or over that part of the disk's device.
 */
async function partitionDevice(
  devicePath: string,
  partition: Partition,
  partFile: string | undefined,
  disk: OpenDisk,
): Promise<string> {
  const own = await kernelPartition(devicePath, partition);
  if (own !== undefined && existsSync(own)) return own;
  return partFile === undefined ? attachLoop(devicePath, disk, partition) : attachLoop(partFile, disk);
}

/** What has a file system that this kernel knows; the rest is passed over. */
async function mountFileSystems(
  at: MountPaths,
  partitions: readonly AttachedPartition[],
  devicePath: string | null,
  disk: OpenDisk,
): Promise<readonly AttachedPartition[]> {
  if (devicePath === null) throw new HvError('unsupported', 'file systems are mounted from a block device only');
  await mkdir(at.fileSystems, { mode: 0o700 });
  const mounted: AttachedPartition[] = [];
  for (const partition of partitions) {
    const mountPath = join(at.fileSystems, `part${partition.number}`);
    mounted.push({
      ...partition,
      mountPath:
        partition.devicePath !== null && (await tryMount(partition.devicePath, mountPath, disk)) ? mountPath : null,
    });
  }
  return mounted;
}

async function tryMount(devicePath: string, mountPath: string, disk: OpenDisk): Promise<boolean> {
  await mkdir(mountPath, { mode: 0o700 });
  const wanted = `nosuid,nodev,noexec,${disk.readOnly ? 'ro' : 'rw'}`;
  try {
    await runProgram('mount', ['-o', wanted, '--', devicePath, mountPath], { deadlineMs: PROGRAM_DEADLINE_MS });
    return true;
  } catch (error) {
    if (!isHvError(error, 'process-failed')) throw error;
    log(`${devicePath} is not mounted: ${error.message}`);
    return false;
  }
}

/** Listens for the order to end, which is answered when the disk is closed. */
class EndServer {
  #end: (() => Promise<void>) | undefined;
  readonly #answers: Promise<void>[] = [];

  static async listen(socketPath: string): Promise<EndServer> {
    const made = new EndServer();
    await ControlServer.listen({
      socketPath,
      peer: 'a command',
      allowedUids: [process.getuid?.() ?? 0],
      onMessage: (connection, message) => {
        const answer = made.#answer(connection, message);
        made.#answers.push(answer);
        return answer;
      },
    });
    return made;
  }

  onEnd(end: () => Promise<void>): void {
    this.#end = end;
  }

  /** Everybody who asked has an answer. */
  async answered(): Promise<void> {
    await Promise.all(this.#answers);
  }

  async #answer(connection: Connection, message: Readonly<Record<string, unknown>>): Promise<void> {
    const parsed = endRequestSchema.safeParse(message);
    const id = typeof message.id === 'number' ? message.id : 0;
    try {
      if (!parsed.success) throw new HvError('protocol', 'the worker does not understand this order');
      await this.#end?.();
      await connection.send({ id, result: {} });
    } catch (error) {
      const failure = isHvError(error) ? error : new HvError('internal', 'the worker failed', { cause: error });
      await connection.send({ id, error: failure.toJSON() });
    }
  }
}
