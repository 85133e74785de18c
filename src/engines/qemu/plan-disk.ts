import { randomUUID } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { checkNewVhd, createVhd, DiskChain, formatOf, openVhd } from '../../disk/index.ts';
import { fromSystemError, HvError } from '../../errors/index.ts';
import { ensureFolder } from '../../state/index.ts';
import type { EngineContext } from './context.ts';
import { canonicalPath, type QemuDiskService } from './disks.ts';

/** A disk for a machine's drive that passed every check; nothing has been made. */
export interface PlannedDisk {
  readonly path: string;
  /** Null: the file is there. */
  readonly newSizeBytes: number | null;
  /** The files under it. */
  readonly parents: readonly string[];
}

/** Whether a block device of the host can. @throws HvError `in-use` (a machine, a mount, another program has it), `invalid-argument` */
export async function planPhysicalDisk(disks: QemuDiskService, given: string): Promise<PlannedDisk> {
  const path = await canonicalPath(given);
  await requireUnused(disks, path);
  const disk = await openVhd(path, { isPhysical: true });
  await disk.close();
  return { path, newSizeBytes: null, parents: [] };
}

/** Whether a file can become a machine's disk. @throws HvError `in-use`, and as openVhd */
export async function planExistingDisk(
  disks: QemuDiskService,
  given: string,
  allowedParents: readonly string[],
): Promise<PlannedDisk> {
  const path = await canonicalPath(given);
  await requireUnused(disks, path);
  // Opening it as a machine would finds what is missing, foreign, damaged or held by somebody else.
  const chain = await openVhd(path, { readOnly: false, allowParents: allowedParents });
  let parents: string[];
  try {
    // All but the disk itself; of a VHD Set, which only names its disk, all.
    parents =
      chain instanceof DiskChain ? chain.layers.map((layer) => layer.path).filter((layer) => layer !== path) : [];
  } finally {
    await chain.close();
  }
  await requireUnwritten(disks, path, parents);
  return { path, newSizeBytes: null, parents };
}

async function requireUnused(disks: QemuDiskService, path: string): Promise<void> {
  const [user] = await disks.users(path);
  if (user) {
    throw new HvError(
      'in-use',
      `the disk ${path} belongs to the virtual machine "${user.name}"${user.as === 'parent' ? ', as a parent of its disk' : ''}`,
      {
        detail: { path, vm: user.name, id: user.id },
        hint: 'Make a differencing disk on it, or copy it.',
      },
    );
  }
}

/** A parent that some machine writes to is no parent: the disk on it would be lost with the first write. */
async function requireUnwritten(disks: QemuDiskService, path: string, parents: readonly string[]): Promise<void> {
  for (const parent of parents) {
    const writer = (await disks.users(parent)).find((user) => user.as === 'drive');
    if (!writer) continue;
    throw new HvError(
      'in-use',
      `the disk ${path} stands on ${parent}, which belongs to the virtual machine "${writer.name}"`,
      {
        detail: { path, parentPath: parent, vm: writer.name, id: writer.id },
        hint: 'That machine would change it, and with it this disk. Copy the parent, or delete that machine first.',
      },
    );
  }
}

/**
 * A dynamic VHDX to be made, by default in the default disk folder.
 * @throws HvError `already-exists`, `invalid-argument`, `no-space`, `permission-denied`
 */
export async function planNewDisk(
  context: EngineContext,
  given: string | undefined,
  newSizeBytes: number,
): Promise<PlannedDisk> {
  const path = given === undefined ? join((await context.settings()).vhdPath, `${randomUUID()}.vhdx`) : resolve(given);
  if (await exists(path)) {
    throw new HvError('already-exists', `the file ${path} exists already`, {
      detail: { path },
      hint: 'Attach it without a size for a new disk, or choose another path.',
    });
  }
  const disk = { type: 'dynamic', format: 'vhdx', sizeBytes: newSizeBytes } as const;
  if (formatOf(path) !== 'vhdx') {
    throw new HvError('invalid-argument', `a machine's new disk is a VHDX file, which ${path} does not say`, {
      detail: { path },
      hint: 'Let its name end in .vhdx.',
    });
  }
  // The default folder is made with the first disk in it: only a folder that was named must be there already.
  if (given === undefined) checkNewVhd(path, disk);
  else await createVhd(path, { ...disk, dryRun: true });
  return { path, newSizeBytes, parents: [] };
}

/** The default disk folder may be shared with people: unlike hv's own folders, its owner is not checked. */
export async function ensureDiskFolder(context: EngineContext): Promise<void> {
  const { vhdPath } = await context.settings();
  if (!(await exists(vhdPath))) await ensureFolder(vhdPath);
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    const failure = fromSystemError(error, `cannot look at ${path}`, { path });
    if (failure.code === 'not-found') return false;
    throw failure;
  }
}
