import { constants, existsSync } from 'node:fs';
import { open, readdir, readFile, readlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { poll, sleep, withDeadline } from '../../../async/index.ts';
import { fromSystemError, HvError, isHvError, isSystemError } from '../../../errors/index.ts';
import {
  findProgram,
  isRoot,
  type ProcessIdentity,
  readProcess,
  runProgram,
  waitForExit,
} from '../../../system/index.ts';
import { isOpenSomewhere } from './kernel-state.ts';

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

/** The kernel gives the first namespace of processes this number for good (PROC_PID_INIT_INO, include/linux/proc_ns.h). */
const FIRST_PID_NAMESPACE = `pid:[${0xeffffffc}]`;
const PROGRAM_DEADLINE_MS = 30_000;
const APPEAR_MS = 10_000;
/** Whoever looks at every new device (udev) holds it for a moment. */
const BUSY_MS = 3000;
const BUSY_STEP_MS = 100;

export interface NbdNeeds {
  readonly isRoot: boolean;
  /** Loaded, built in, or to be had with modprobe. */
  readonly hasModule: boolean;
  /** False in a container that has the kernel's module, but none of its devices. */
  readonly hasDevices: boolean;
  /** False in a container with process numbers of its own: the kernel's name for a client would mean nothing there. */
  readonly seesAllProcesses: boolean;
  readonly hasClient: boolean;
}

/** Looks; loads nothing. @param sysFolder `/sys`, or what stands for it in a test */
export async function nbdNeeds(sysFolder = '/sys', devFolder = '/dev'): Promise<NbdNeeds> {
  const hasLoaded = isLoaded(sysFolder);
  const names = await nbdNames(sysFolder);
  return {
    isRoot: isRoot(),
    hasModule: hasLoaded || (await canLoad()),
    hasDevices: !hasLoaded || names.some((name) => existsSync(join(devFolder, name))),
    seesAllProcesses: (await readlink('/proc/self/ns/pid')) === FIRST_PID_NAMESPACE,
    hasClient: (await findProgram('nbd-client')) !== undefined,
  };
}

/** What is missing for this way, the first thing; undefined where it works. */
export function nbdObstacle(needs: NbdNeeds): { readonly missing: string; readonly fix: string } | undefined {
  if (!needs.isRoot) return { missing: 'only root attaches block devices', fix: 'Run hv as root.' };
  if (!needs.hasModule) {
    return {
      missing: 'the kernel module nbd is not there',
      fix: 'modprobe nbd, in a container on its host; where there is none, use a kernel with CONFIG_BLK_DEV_NBD.',
    };
  }
  if (!needs.seesAllProcesses) {
    return { missing: 'a container sees no client of an NBD device', fix: 'Run hv outside of the container.' };
  }
  if (!needs.hasDevices) return { missing: 'there is no /dev/nbd0', fix: 'Give this container the host’s /dev/nbd*.' };
  if (!needs.hasClient) return { missing: 'nbd-client is not installed', fix: 'apt-get install nbd-client' };
  return undefined;
}

function isLoaded(sysFolder: string): boolean {
  return existsSync(join(sysFolder, 'module/nbd'));
}

async function canLoad(): Promise<boolean> {
  if (!(await mayLoadModules()) || (await findProgram('modinfo')) === undefined) return false;
  const { exitCode } = await runProgram('modinfo', ['-F', 'name', 'nbd'], {
    deadlineMs: PROGRAM_DEADLINE_MS,
    okExitCodes: [0, 1],
  });
  return exitCode === 0;
}

export interface FreeNbdDevice {
  readonly devicePath: string;
  /** It still has the size of its last disk: somebody had it open when that went away, and may have it open now. */
  readonly isUsed: boolean;
}

/** The devices that are not attached (they have no client), those first that nobody has open. */
export async function freeNbdDevices(sysFolder = '/sys'): Promise<readonly FreeNbdDevice[]> {
  const free: FreeNbdDevice[] = [];
  for (const name of await nbdNames(sysFolder)) {
    const folder = join(sysFolder, 'block', name);
    if (existsSync(join(folder, 'pid'))) continue;
    free.push({ devicePath: `/dev/${name}`, isUsed: (await sysNumber(join(folder, 'size'))) !== 0 });
  }
  return free.sort((a, b) => Number(a.isUsed) - Number(b.isUsed));
}

/** CAP_SYS_MODULE, capability 16 (capabilities(7)), which root of a container lacks. */
async function mayLoadModules(): Promise<boolean> {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(await readFile('/proc/self/status', 'latin1'))?.[1];
  return effective !== undefined && ((BigInt(`0x${effective}`) >> 16n) & 1n) === 1n;
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
  let failure: unknown;
  for (const { devicePath, isUsed } of await freeNbdDevices()) {
    // Whoever still has it open from its last disk would have ours.
    if (isUsed && !(await isUnused(devicePath))) continue;
    try {
      await runProgram('nbd-client', attachArguments({ ...order, devicePath }), { deadlineMs: PROGRAM_DEADLINE_MS });
    } catch (error) {
      if (!isHvError(error, 'process-failed')) throw error;
      failure ??= error; // somebody else may have taken the device meanwhile
      continue;
    }
    return poll(async () => (await nbdDevicesOn(order.socketPath)).find((found) => found.devicePath === devicePath), {
      timeoutMs: APPEAR_MS,
      intervalMs: 10,
      doing: `waiting for ${devicePath}`,
    });
  }
  if (failure !== undefined) throw failure;
  throw new HvError('in-use', 'every NBD device of this host is in use', {
    hint: 'Detach one, or have more of them: modprobe nbd nbds_max=64',
  });
}

async function isUnused(devicePath: string): Promise<boolean> {
  try {
    if (await isOpenSomewhere(devicePath, [])) return false;
    await using _device = await open(devicePath, constants.O_RDONLY | constants.O_EXCL);
    return true;
  } catch (error) {
    if (isSystemError(error, 'EBUSY')) return false;
    throw fromSystemError(error, `could not open ${devicePath}`, { path: devicePath });
  }
}

/**
 * Takes a device away that nobody uses any more, with everything written to it flushed.
 * @throws HvError `in-use`, `io`
 */
export async function detachNbd({ devicePath, client }: NbdDevice): Promise<void> {
  const deadline = performance.now() + BUSY_MS;
  for (;;) {
    try {
      await flushUnused(devicePath, client.pid);
      break;
    } catch (error) {
      if (!isHvError(error, 'in-use') || performance.now() > deadline) throw error;
    }
    await sleep(BUSY_STEP_MS);
  }
  await runProgram('nbd-client', detachArguments(devicePath), { deadlineMs: PROGRAM_DEADLINE_MS });
  await withDeadline(waitForExit(client), PROGRAM_DEADLINE_MS, `waiting until ${devicePath} is detached`);
  await forgetSize(devicePath);
}

/**
 * The kernel keeps a device's size and partitions when somebody has it open at its end, as the program has that detaches
 * it. Told again, when nobody has, it forgets them.
 */
async function forgetSize(devicePath: string): Promise<void> {
  const folder = join('/sys/block', basename(devicePath));
  try {
    if (existsSync(join(folder, 'pid'))) return; // somebody has attached it again
    if ((await sysNumber(join(folder, 'size'))) !== 0) {
      await runProgram('nbd-client', detachArguments(devicePath), { deadlineMs: PROGRAM_DEADLINE_MS });
    }
    await runProgram('blockdev', ['--rereadpt', devicePath], { deadlineMs: PROGRAM_DEADLINE_MS });
  } catch (error) {
    if (!isHvError(error, 'process-failed')) throw error; // it is detached: what it looks like is no reason to fail
  }
}

/** O_EXCL finds what the kernel itself has on the device or on a part of it; who has opened it is asked of /proc. */
async function flushUnused(devicePath: string, clientPid: number): Promise<void> {
  try {
    if (await isOpenSomewhere(devicePath, [clientPid])) throw usedError(devicePath);
    await using device = await open(devicePath, constants.O_RDONLY | constants.O_EXCL);
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
