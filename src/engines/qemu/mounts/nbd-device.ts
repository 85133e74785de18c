import { constants, existsSync } from 'node:fs';
import { open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { poll, sleep } from '../../../async/index.ts';
import { fromSystemError, HvError, isHvError, isSystemError } from '../../../errors/index.ts';
import { findProgram, isRoot, type ProcessIdentity, readProcess, runProgram } from '../../../system/index.ts';
import { isOpenElsewhere } from './kernel-state.ts';

/**
 * The kernel's NBD devices, attached by nbd-client over its older interface (ioctl): there the program stays while the
 * device is attached, so that the kernel names it (/sys/block/nbdN/pid), its command line says whose disk it is, and the
 * device goes away by itself with the server. Over netlink a device whose server is gone would stay, and be nobody's.
 */
export interface NbdDevice {
  readonly devicePath: string;
  /** The nbd-client of it: it ends with the attachment. */
  readonly client: ProcessIdentity;
}

/** The only export of a disk's worker. */
export const NBD_EXPORT = 'disk';

const PROGRAM_DEADLINE_MS = 30_000;
const APPEAR_MS = 10_000;
const ATTACH_TRIES = 4;
/** Whoever looks at every new device (udev) holds it for a moment. */
const BUSY_MS = 3000;
const BUSY_STEP_MS = 100;

export interface NbdNeeds {
  readonly isRoot: boolean;
  /** Loaded, built in, or to be had with modprobe. */
  readonly hasModule: boolean;
  readonly hasClient: boolean;
}

/** Looks; loads nothing. @param sysFolder `/sys`, or what stands for it in a test */
export async function nbdNeeds(sysFolder = '/sys'): Promise<NbdNeeds> {
  return {
    isRoot: isRoot(),
    hasModule: isLoaded(sysFolder) || (await canLoad()),
    hasClient: (await findProgram('nbd-client')) !== undefined,
  };
}

/** What is missing for this way, the first thing; undefined where it works. */
export function nbdObstacle(needs: NbdNeeds): { readonly missing: string; readonly fix: string } | undefined {
  if (!needs.isRoot) return { missing: 'only root attaches block devices', fix: 'Run hv as root.' };
  if (!needs.hasModule) {
    return { missing: 'this kernel has no module nbd', fix: 'Use a kernel with it: CONFIG_BLK_DEV_NBD=m' };
  }
  if (!needs.hasClient) return { missing: 'nbd-client is not installed', fix: 'apt-get install nbd-client' };
  return undefined;
}

function isLoaded(sysFolder: string): boolean {
  return existsSync(join(sysFolder, 'module/nbd'));
}

async function canLoad(): Promise<boolean> {
  if ((await findProgram('modinfo')) === undefined) return false;
  const { exitCode } = await runProgram('modinfo', ['-F', 'name', 'nbd'], {
    deadlineMs: PROGRAM_DEADLINE_MS,
    okExitCodes: [0, 1],
  });
  return exitCode === 0;
}

/** The devices that nobody has attached, in their order: without a client and without a size. */
export async function freeNbdDevices(sysFolder = '/sys'): Promise<readonly string[]> {
  const free: string[] = [];
  for (const name of await nbdNames(sysFolder)) {
    const folder = join(sysFolder, 'block', name);
    if (existsSync(join(folder, 'pid'))) continue;
    if ((await sysNumber(join(folder, 'size'))) === 0) free.push(`/dev/${name}`);
  }
  return free;
}

/** The devices whose nbd-client was started for this socket: the kernel's word, not a record's. */
export async function nbdDevicesOn(
  socketPath: string,
  { sysFolder = '/sys', procFolder = '/proc' } = {},
): Promise<readonly NbdDevice[]> {
  const found: NbdDevice[] = [];
  for (const name of await nbdNames(sysFolder)) {
    const pid = await sysNumber(join(sysFolder, 'block', name, 'pid'));
    if (pid === undefined || pid <= 0) continue;
    const client = readProcess(pid);
    const words = await commandLine(procFolder, pid);
    if (client && words.includes(socketPath) && words.includes(`/dev/${name}`)) {
      found.push({ devicePath: `/dev/${name}`, client: { pid, startTicks: client.startTicks } });
    }
  }
  return found;
}

/** How nbd-client is told to attach. The sizes of sectors are the disk's, so that its partition table is read as it is meant. */
export function attachArguments(order: {
  readonly socketPath: string;
  readonly devicePath: string;
  readonly sectorSizeBytes: number;
  readonly readOnly: boolean;
}): readonly string[] {
  return [
    ...['-unix', order.socketPath, order.devicePath, '-name', NBD_EXPORT],
    ...['-block-size', String(order.sectorSizeBytes), '-nonetlink'],
    ...(order.readOnly ? ['-readonly'] : []),
  ];
}

export function detachArguments(devicePath: string): readonly string[] {
  return ['-nonetlink', '-disconnect', devicePath];
}

/**
 * Attaches a free device to whoever serves on the socket, which must go on answering meanwhile.
 * @throws HvError `in-use` (no device is free), `process-failed`, `timeout`, `missing-dependency`
 */
export async function attachNbd(order: {
  readonly socketPath: string;
  readonly sectorSizeBytes: number;
  readonly readOnly: boolean;
}): Promise<NbdDevice> {
  if (!isLoaded('/sys')) await runProgram('modprobe', ['nbd'], { deadlineMs: PROGRAM_DEADLINE_MS });
  for (let tries = 1; ; tries++) {
    const [devicePath] = await freeNbdDevices();
    if (devicePath === undefined) {
      throw new HvError('in-use', 'every NBD device of this host is attached', {
        hint: 'Detach one, or have more of them: modprobe nbd nbds_max=64',
      });
    }
    try {
      await runProgram('nbd-client', attachArguments({ ...order, devicePath }), { deadlineMs: PROGRAM_DEADLINE_MS });
    } catch (error) {
      // Somebody else may have taken the device meanwhile.
      if (!isHvError(error, 'process-failed') || tries === ATTACH_TRIES) throw error;
      continue;
    }
    return poll(async () => (await nbdDevicesOn(order.socketPath)).find((found) => found.devicePath === devicePath), {
      timeoutMs: APPEAR_MS,
      intervalMs: 10,
      doing: `waiting for ${devicePath}`,
    });
  }
}

/**
 * Takes a device away that nobody uses any more, with everything written to it flushed.
 * @param devices the device, and those of its partitions
 * @throws HvError `in-use`, `io`
 */
export async function detachNbd({ devicePath, client }: NbdDevice, devices: readonly string[]): Promise<void> {
  const deadline = performance.now() + BUSY_MS;
  for (;;) {
    try {
      await flushUnused(devicePath, devices, client.pid);
      break;
    } catch (error) {
      if (!isHvError(error, 'in-use') || performance.now() > deadline) throw error;
    }
    await sleep(BUSY_STEP_MS);
  }
  await runProgram('nbd-client', detachArguments(devicePath), { deadlineMs: PROGRAM_DEADLINE_MS });
}

/** O_EXCL finds what the kernel itself has on the device or on a part of it; who has opened it is asked of /proc. */
async function flushUnused(devicePath: string, devices: readonly string[], clientPid: number): Promise<void> {
  try {
    await using device = await open(devicePath, constants.O_RDONLY | constants.O_EXCL);
    if (await isOpenElsewhere(devices, [clientPid, process.pid])) throw usedError(devicePath);
    await device.sync();
  } catch (error) {
    if (isSystemError(error, 'EBUSY')) throw usedError(devicePath, error);
    throw fromSystemError(error, `could not flush ${devicePath}`, { path: devicePath });
  }
}

function usedError(devicePath: string, cause?: unknown): HvError {
  return new HvError('in-use', `somebody uses ${devicePath}`, { detail: { path: devicePath }, cause });
}

async function nbdNames(sysFolder: string): Promise<readonly string[]> {
  try {
    const names = await readdir(join(sysFolder, 'block'));
    const numberOf = (name: string): number => Number(name.slice(3));
    return names.filter((name) => /^nbd[0-9]+$/.test(name)).sort((a, b) => numberOf(a) - numberOf(b));
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return [];
    throw error;
  }
}

/** Undefined where there is no such file. */
async function sysNumber(path: string): Promise<number | undefined> {
  try {
    return Number(await readFile(path, 'latin1'));
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENODEV', 'ENXIO')) return undefined;
    throw error;
  }
}

async function commandLine(procFolder: string, pid: number): Promise<readonly string[]> {
  try {
    return (await readFile(join(procFolder, String(pid), 'cmdline'), 'utf8')).split('\0');
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ESRCH')) return []; // it has ended
    throw error;
  }
}
