import { lstat, rm } from 'node:fs/promises';
import { fromSystemError, isSystemError } from '../../errors/index.ts';
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

async function isDefined(context: EngineContext, vmId: string): Promise<boolean> {
  const { definitions, damaged } = await context.store.survey();
  return [...definitions, ...damaged].some(({ id }) => id === vmId);
}

async function clearAway(context: EngineContext, operation: Operation): Promise<void> {
  await context.store.remove(operation.vmId);
  await removeDataFolder(operation);
  await rm(context.runFolder(operation.vmId), { recursive: true, force: true });
  const files = operation.kind === 'create-vm' ? [operation.newDisk] : operation.disks;
  for (const file of files) if (file) await removeOwnedFile(file);
}
