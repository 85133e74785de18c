import { lstat, rm } from 'node:fs/promises';
import { trackingPath, vhdInfo } from '../../disk/index.ts';
import { fromSystemError, isHvError, isSystemError } from '../../errors/index.ts';
import type { Operation } from '../../state/index.ts';
import type { EngineContext } from './context.ts';
import { removeDataFolder } from './data-folder.ts';

/** A file as the journal of operations remembers it: its path, and what tells it from any other that lies there later. */
export type OwnedFile = Extract<Operation, { readonly kind: 'delete-vm' }>['disks'][number];

/** Undefined where nothing lies there. @throws HvError `permission-denied`, `io` */
export async function ownedFile(path: string): Promise<OwnedFile | undefined> {
  try {
    const { dev, ino, birthtimeNs } = await lstat(path, { bigint: true });
    return { path, identity: `${dev}:${ino}:${birthtimeNs}` };
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw fromSystemError(error, `could not look at ${path}`, { path });
  }
}

/** Those of the paths at which something lies. */
export async function ownedFiles(paths: readonly string[]): Promise<OwnedFile[]> {
  const found = await Promise.all(paths.map(ownedFile));
  return found.filter((file) => file !== undefined);
}

/** Whether it was there. Another file that took its place stays. @throws HvError `permission-denied`, `io` */
export async function removeOwnedFile(file: OwnedFile): Promise<boolean> {
  if ((await ownedFile(file.path))?.identity !== file.identity) return false;
  try {
    await rm(file.path);
    await rm(trackingPath(file.path), { force: true });
    return true;
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return false;
    throw fromSystemError(error, `could not remove ${file.path}`, { path: file.path });
  }
}

/**
 * Finishes deletions and undoes creations that were killed. A machine's definition says which: while it is there, a
 * deletion has not begun and a creation is complete.
 */
export async function finishOperations(context: EngineContext): Promise<void> {
  for await (const held of context.operations.unfinished()) {
    await using _held = held;
    const { operation } = held;
    if (!(await isDefined(context, operation.vmId))) await clearAway(context, operation);
    await held.finish();
  }
}

/** A definition that cannot be read is there all the same. */
async function isDefined(context: EngineContext, vmId: string): Promise<boolean> {
  try {
    return (await context.store.find(vmId)) !== undefined;
  } catch (error) {
    if (!isHvError(error)) throw error;
    return true;
  }
}

async function clearAway(context: EngineContext, operation: Operation): Promise<void> {
  await context.store.remove(operation.vmId);
  await removeDataFolder(operation);
  await rm(context.runFolder(operation.vmId), { recursive: true, force: true });
  if (operation.kind === 'delete-vm') for (const file of operation.disks) await removeOwnedFile(file);
  else if (operation.newDisk) await removeNewDisk(operation.newDisk.path, operation.newDisk.virtualDiskId);
}

/** A disk file is there as a whole or not at all; one that is not the machine's stays. */
async function removeNewDisk(path: string, virtualDiskId: string): Promise<void> {
  try {
    if ((await vhdInfo(path)).identifier === virtualDiskId) await rm(path, { force: true });
  } catch (error) {
    if (!isHvError(error)) throw fromSystemError(error, `could not remove ${path}`, { path });
    // It was not made yet, or is nothing that this engine makes.
  }
}
