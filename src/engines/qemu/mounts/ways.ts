import { accessSync, constants } from 'node:fs';
import type { MountWay, MountWayFinding } from '../../../disk/index.ts';
import { HvError } from '../../../errors/index.ts';
import { canMountFuse } from '../../../protocols/fuse/index.ts';
import { findProgram, isRoot } from '../../../system/index.ts';
import { nbdNeeds, nbdObstacle } from './nbd-device.ts';

const LOOP_CONTROL = '/dev/loop-control';

/** Every way, best first. */
export async function examineWays(): Promise<readonly MountWayFinding[]> {
  const fuse = await canMountFuse();
  const loop = fuse ?? (await canLoop());
  const nbd = nbdObstacle(await nbdNeeds());
  return [finding('nbd', nbd), finding('fuse-loop', loop), finding('fuse', fuse)];
}

function finding(
  way: MountWay,
  obstacle: { readonly missing: string; readonly fix: string } | undefined,
): MountWayFinding {
  return { way, missing: obstacle?.missing ?? null, fix: obstacle?.fix ?? null };
}

async function canLoop(): Promise<{ readonly missing: string; readonly fix: string } | undefined> {
  if (!isRoot()) return { missing: 'only root attaches block devices', fix: 'Run hv as root.' };
  try {
    accessSync(LOOP_CONTROL, constants.R_OK | constants.W_OK);
  } catch {
    return { missing: `there is no ${LOOP_CONTROL}`, fix: 'modprobe loop' };
  }
  if ((await findProgram('losetup')) === undefined) {
    return { missing: 'losetup is not installed', fix: 'apt-get install mount' };
  }
  return undefined;
}

export function hasDevice(way: MountWay): boolean {
  return way !== 'fuse';
}

/**
 * The way that is asked for, or the best that works.
 * @param findings every way, best first
 * @throws HvError `missing-dependency` with what is missing; `unsupported` (a way without a device, where one is needed)
 */
export function chooseWay(
  findings: readonly MountWayFinding[],
  { asked, needsDevice }: { readonly asked: MountWay | undefined; readonly needsDevice: boolean },
): MountWay {
  if (needsDevice && asked !== undefined && !hasDevice(asked)) {
    throw new HvError('unsupported', 'file systems are mounted from a block device only', {
      hint: 'Leave --way out.',
    });
  }
  const wanted = findings.filter(({ way }) => (asked === undefined ? !needsDevice || hasDevice(way) : way === asked));
  const found = wanted.find(({ missing }) => missing === null);
  if (found) return found.way;
  // The last one needs least.
  const last = wanted.at(-1);
  throw new HvError('missing-dependency', `this host cannot show a disk: ${last?.missing ?? 'there is no such way'}`, {
    detail: { ways: findings.map(({ way, missing }) => ({ way, missing })) },
    ...(last?.fix ? { hint: last.fix } : {}),
  });
}
