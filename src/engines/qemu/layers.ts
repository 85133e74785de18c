import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type LongOptions, sleep } from '../../async/index.ts';
import { mergeIntoParent, setParent, trackingPath, vhdInfo } from '../../disk/index.ts';
import { HvError, isHvError } from '../../errors/index.ts';
import type { PendingWork, VmDefinition } from '../../state/index.ts';
import type { EngineContext } from './context.ts';
import { observe } from './observe.ts';
import { order } from './worker/client.ts';

/** The disk files of a machine as a forest: each file and the file under it. Files under the attached disk are not ours. */
export interface LayerForest {
  /** From a file to its parent, for every file of the machine's own. The attached disks have no entry. */
  readonly parentOf: ReadonlyMap<string, string>;
  readonly files: ReadonlySet<string>;
}

/** Files that a drive or a snapshot names. */
export function namedLayers(definition: VmDefinition): Set<string> {
  const specifications = [definition.specification, ...definition.snapshots.map((snapshot) => snapshot.specification)];
  return new Set(specifications.flatMap((specification) => specification.hardDiskDrives.map((drive) => drive.path)));
}

export function isOwnLayer(definition: VmDefinition, path: string): boolean {
  return resolve(path).startsWith(join(definition.dataPath, 'disks/'));
}

/**
 * Every file that may be found as a parent, so that it is allowed to be one. The machine's own layers are so by their
 * folder alone: named one by one, a link that its user put in a layer's place would allow what it leads to.
 */
export function knownParents(definition: VmDefinition): string[] {
  return [
    ...definition.specification.allowedParents,
    ...Object.values(definition.attached),
    ...Object.values(definition.parents).flat(),
    join(definition.dataPath, 'disks'),
  ];
}

/** Files of a drive's chain that a merge under the running machine may write to: its own, never those under the attached one. */
export function mergeableParents(definition: VmDefinition, driveId: string): string[] {
  const attached = definition.attached[driveId];
  return [join(definition.dataPath, 'disks'), ...(attached === undefined ? [] : [attached])];
}

/** Walks from every named file down to the attached disks. @throws HvError `corrupt`, `not-found`, `parent-changed` */
export async function readForest(definition: VmDefinition): Promise<LayerForest> {
  const parentOf = new Map<string, string>();
  const files = new Set<string>();
  for (let path of namedLayers(definition)) {
    for (;;) {
      files.add(path);
      if (!isOwnLayer(definition, path) || parentOf.has(path)) break;
      const { path: place, parentPath } = await vhdInfo(path);
      if (parentPath === null) break;
      mustBelong(definition, path, place);
      mustBelong(definition, path, parentPath);
      parentOf.set(path, parentPath);
      path = parentPath;
    }
  }
  return { parentOf, files };
}

/** Layers are written by an unprivileged process: where they are and what they name as a parent is its word, not ours. */
export function mustBelong(definition: VmDefinition, layer: string, path: string): void {
  if (isOwnLayer(definition, path) || Object.values(definition.attached).includes(path)) return;
  throw new HvError('corrupt', `the layer ${layer} leads to ${path}, which does not belong to its machine`, {
    detail: { path: layer, leadsTo: path, id: definition.id },
    hint: 'It was changed from outside. Apply an older snapshot, or restore the file.',
  });
}

/**
 * Makes the forest small again after snapshots were forgotten: a file that nothing names and nothing stands on is
 * deleted; one that nothing names and exactly one file stands on takes that file's blocks in. Each merge is written
 * down before it starts and can be run again, so a crash at any point loses nothing.
 */
export async function simplifyLayers(
  context: EngineContext,
  start: VmDefinition,
  long: LongOptions = {},
): Promise<VmDefinition> {
  let definition = start;
  for (;;) {
    const forest = await readForest(definition);
    const named = namedLayers(definition);
    const merge = nextMerge(definition, forest, named);
    if (!merge) return definition;
    definition = { ...definition, pending: merge };
    await context.store.save(definition);
    definition = await finishPending(context, definition, long);
  }
}

/** Whether simplifyLayers would merge something. */
export async function canSimplify(definition: VmDefinition): Promise<boolean> {
  return nextMerge(definition, await readForest(definition), namedLayers(definition)) !== null;
}

function nextMerge(definition: VmDefinition, forest: LayerForest, named: ReadonlySet<string>): VmDefinition['pending'] {
  const childrenOf = new Map<string, string[]>();
  for (const [child, parent] of forest.parentOf) childrenOf.set(parent, [...(childrenOf.get(parent) ?? []), child]);
  for (const [parentPath, children] of childrenOf) {
    const [childPath] = children;
    if (named.has(parentPath) || children.length !== 1 || childPath === undefined) continue;
    // Files under the attached disk belong to others: they are never merged into.
    if (!forest.files.has(parentPath) || Object.values(definition.parents).flat().includes(parentPath)) continue;
    return { kind: 'merge', childPath, parentPath, grandchildPaths: childrenOf.get(childPath) ?? [] };
  }
  return null;
}

const MERGE_ATTEMPTS = 4;
const MERGE_AGAIN_MS = 100;

/**
 * Finishes what an earlier command began: by the machine's worker where that has the files open, under the running guest.
 * Harmless when nothing is pending.
 */
export async function finishPending(
  context: EngineContext,
  definition: VmDefinition,
  long: LongOptions = {},
): Promise<VmDefinition> {
  const { pending } = definition;
  if (!pending) return definition;
  const { childPath, parentPath } = pending;
  const done: VmDefinition = { ...renameLayer(definition, childPath, parentPath), pending: null };
  for (let attempt = 1; ; attempt++) {
    try {
      await mergeWhereItIsOpen(context, definition, pending, done, long);
      break;
    } catch (error) {
      // A worker that died left a sound chain; its successor has it open, or nobody where the machine went off.
      // What was read of a file that a worker just opened may be what it was before (`not-found`: not in that chain).
      const isMoved = isHvError(error, 'process-failed') || isHvError(error, 'not-found');
      if (!isMoved || attempt === MERGE_ATTEMPTS) throw error;
      await sleep(MERGE_AGAIN_MS, long);
    }
  }
  await removeLayer(childPath);
  return done;
}

async function mergeWhereItIsOpen(
  context: EngineContext,
  definition: VmDefinition,
  pending: PendingWork,
  done: VmDefinition,
  long: LongOptions,
): Promise<void> {
  const { childPath, parentPath, grandchildPaths } = pending;
  const { runtime } = await observe(context, definition);
  const { parentOf } = await readForest(definition);
  const chains = runtime ? definition.specification.hardDiskDrives.map((drive) => chainOf(drive, parentOf)) : [];
  const open = chains.find(({ files }) => files.includes(childPath));
  const isOpen = (path: string): boolean => chains.some(({ files }) => files.includes(path));
  const relinkOthers = async (): Promise<void> => {
    for (const grandchild of grandchildPaths) {
      if (!isOpen(grandchild) && parentOf.get(grandchild) !== parentPath)
        await setParent(grandchild, parentPath, { holdsSame: true });
    }
  };
  if (open) {
    await using worker = await context.worker(definition.id);
    const merge = order({ op: 'merge', driveId: open.driveId, childPath, parentPath });
    if (open.files[0] === childPath) {
      await context.decide(worker, definition.id, {
        prepare: () => worker.call(merge, long),
        write: () => context.store.save(done),
      });
      return;
    }
    await worker.call(merge, long);
  } else if (!grandchildPaths.some((grandchild) => parentOf.get(grandchild) === parentPath)) {
    // A file that stands on the parent already was put there after the merge: running it again would make it a stranger.
    const allowParents = [...knownParents(definition), childPath, parentPath];
    await mergeIntoParent(childPath, { ...long, allowParents });
  }
  await relinkOthers();
  await context.store.save(done);
}

/** The files that a drive's disk is made of, its own first. */
function chainOf(
  drive: { readonly id: string; readonly path: string },
  parentOf: ReadonlyMap<string, string>,
): { readonly driveId: string; readonly files: readonly string[] } {
  const files: string[] = [];
  for (let path: string | undefined = drive.path; path !== undefined; path = parentOf.get(path)) files.push(path);
  return { driveId: drive.id, files };
}

/** Every drive that names the one file names the other. */
function renameLayer(definition: VmDefinition, from: string, to: string): VmDefinition {
  const rename = (specification: VmDefinition['specification']): VmDefinition['specification'] => ({
    ...specification,
    hardDiskDrives: specification.hardDiskDrives.map((drive) => (drive.path === from ? { ...drive, path: to } : drive)),
  });
  return {
    ...definition,
    specification: rename(definition.specification),
    snapshots: definition.snapshots.map((snapshot) => ({ ...snapshot, specification: rename(snapshot.specification) })),
  };
}

/**
 * Deletes the machine's own layers that only the old definition names and on which nothing of the new one stands.
 * Layers lower down that lose their last child this way go too.
 */
export async function dropAbandonedLayers(before: VmDefinition, after: VmDefinition): Promise<void> {
  const { parentOf } = await readForest(before);
  const needed = new Set((await readForest(after)).files);
  for (const start of namedLayers(before)) {
    let path: string | undefined = start;
    while (path !== undefined && isOwnLayer(before, path) && !needed.has(path)) {
      await removeLayer(path);
      path = parentOf.get(path);
    }
  }
}

/** A layer and what is kept beside it. */
export async function removeLayer(path: string): Promise<void> {
  await rm(path, { force: true });
  await rm(trackingPath(path), { force: true });
}
