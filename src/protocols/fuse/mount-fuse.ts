import { accessSync, closeSync, constants, openSync, statSync } from 'node:fs';
import type { BlockDevice } from '../../disk/block-device.ts';
import { fromSystemError } from '../../errors/index.ts';
import { descriptorMailbox, findProgram, hasFfi, isRoot, runProgram } from '../../system/index.ts';
import { FuseChannel } from './channel.ts';
import type { View } from './tree.ts';

export interface MountFuseOptions {
  /** An empty folder of ours. */
  readonly folder: string;
  readonly device: BlockDevice;
  readonly views: readonly View[];
}

const DEVICE = '/dev/fuse';
const TYPE = 'hv';
const PROGRAM_DEADLINE_MS = 20_000;
const FIRST_INHERITED_FD = 3;

/**
 * Shows a disk as files in a folder, which only this user can enter. Root mounts by itself; others need fusermount3.
 * Until `ended` resolves, nothing in this process may touch the folder. The device stays the caller's to close after that.
 * @throws HvError `missing-dependency`, `permission-denied`, `process-failed`, `not-found` (no FUSE in this kernel), `unsupported`
 */
export async function mountFuse(options: MountFuseOptions): Promise<FuseChannel> {
  const { device, views } = options;
  const session = { device, views, uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
  if (!isRoot()) return new FuseChannel(await mountAsUser(options), session);
  const fd = openDevice();
  const channel = new FuseChannel(fd, session);
  try {
    await mountAsRoot(options, fd, session);
  } catch (error) {
    channel.abandon();
    await channel.ended;
    throw error;
  }
  return channel;
}

function openDevice(): number {
  try {
    return openSync(DEVICE, constants.O_RDWR);
  } catch (error) {
    throw fromSystemError(error, `could not open ${DEVICE}`, { path: DEVICE });
  }
}

async function mountAsRoot(
  { folder, device }: MountFuseOptions,
  fd: number,
  owner: { readonly uid: number; readonly gid: number },
): Promise<void> {
  const wanted = [
    `fd=${FIRST_INHERITED_FD}`,
    'rootmode=40000',
    `user_id=${owner.uid}`,
    `group_id=${owner.gid}`,
    'default_permissions',
    'nosuid,nodev,noexec',
    device.readOnly ? 'ro' : 'rw',
  ];
  // -i: no helper program of another FUSE library in between.
  await runProgram('mount', ['-i', '-t', `fuse.${TYPE}`, '-o', wanted.join(','), TYPE, folder], {
    deadlineMs: PROGRAM_DEADLINE_MS,
    descriptors: [fd],
  });
}

async function mountAsUser({ folder, device }: MountFuseOptions): Promise<number> {
  using mailbox = descriptorMailbox();
  const wanted = `default_permissions,nosuid,nodev,noexec,fsname=${TYPE},subtype=${TYPE},${device.readOnly ? 'ro' : 'rw'}`;
  await runProgram('fusermount3', ['-o', wanted, '--', folder], {
    deadlineMs: PROGRAM_DEADLINE_MS,
    descriptors: [mailbox.programEnd],
    env: { _FUSE_COMMFD: String(FIRST_INHERITED_FD) },
  });
  return mailbox.take();
}

/**
 * Takes the folder's files away. The channel ends when nobody has one open any more.
 * @param isLazy now, though somebody has a file open: what that one still does goes on
 * @throws HvError `process-failed` (busy, or not mounted), `missing-dependency`
 */
export async function unmountFuse(folder: string, options: { readonly isLazy?: boolean } = {}): Promise<void> {
  const [program, args, lazy] = isRoot() ? ['umount', ['-i'], '-l'] : ['fusermount3', ['-u'], '-z'];
  await runProgram(program, [...args, ...(options.isLazy ? [lazy] : []), '--', folder], {
    deadlineMs: PROGRAM_DEADLINE_MS,
  });
}

/** What keeps this user from mounting with FUSE, and the way out; undefined where nothing does. */
export async function canMountFuse(): Promise<{ readonly missing: string; readonly fix: string } | undefined> {
  try {
    statSync(DEVICE);
  } catch {
    return { missing: `there is no ${DEVICE}`, fix: 'modprobe fuse' };
  }
  if (isRoot()) {
    try {
      closeSync(openSync(DEVICE, constants.O_RDWR));
      return undefined;
    } catch {
      return { missing: `${DEVICE} cannot be opened: the kernel has no FUSE`, fix: 'modprobe fuse' };
    }
  }
  if ((await findProgram('fusermount3')) === undefined) {
    return { missing: 'fusermount3 is not installed', fix: 'apt-get install fuse3' };
  }
  try {
    accessSync(DEVICE, constants.R_OK | constants.W_OK);
  } catch {
    return { missing: `${DEVICE} may not be opened by this user`, fix: `chmod 0666 ${DEVICE}` };
  }
  if (!hasFfi()) return { missing: 'koffi is not loaded', fix: 'npm install (the optional dependency koffi)' };
  return undefined;
}
