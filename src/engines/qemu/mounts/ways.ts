import { accessSync, constants } from 'node:fs';
import type { MountWay } from '../../../disk/index.ts';
import { HvError } from '../../../errors/index.ts';
import { canMountFuse } from '../../../protocols/fuse/index.ts';
import { findProgram, isRoot } from '../../../system/index.ts';

/** A way to show a disk, and what it lacks here. */
export interface WayFinding {
  readonly way: MountWay;
  /** Null where nothing is missing. */
  readonly missing: string | null;
  readonly fix: string | null;
}

const LOOP_CONTROL = '/dev/loop-control';

/** Every way, best first. */
export async function examineWays(): Promise<readonly WayFinding[]> {
  const fuse = await canMountFuse();
  const loop = fuse ?? (await canLoop());
  return [finding('fuse-loop', loop), finding('fuse', fuse)];
}

function finding(way: MountWay, obstacle: { readonly missing: string; readonly fix: string } | undefined): WayFinding {
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

/** The way that is asked for, or the best that works. @throws HvError `missing-dependency` with what is missing */
export async function chooseWay(asked: MountWay | undefined): Promise<MountWay> {
  const findings = await examineWays();
  const wanted = asked === undefined ? findings : findings.filter(({ way }) => way === asked);
  const found = wanted.find(({ missing }) => missing === null);
  if (found) return found.way;
  const last = wanted.at(-1);
  throw new HvError('missing-dependency', `this host cannot show a disk: ${last?.missing ?? 'there is no such way'}`, {
    detail: { ways: findings.map(({ way, missing }) => ({ way, missing })) },
    ...(last?.fix ? { hint: last.fix } : {}),
  });
}
