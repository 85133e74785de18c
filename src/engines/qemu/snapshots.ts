import { randomUUID } from 'node:crypto';
import { link, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type LongOptions, throwIfAborted, Undo } from '../../async/index.ts';
import { createVhd, formatOf, goOnTracking } from '../../disk/index.ts';
import { HvError } from '../../errors/index.ts';
import type { SnapshotService } from '../../host/index.ts';
import { nameKey, type SnapshotInfo, type SnapshotType, validName } from '../../model/index.ts';
import type { SnapshotDefinition, VmDefinition } from '../../state/index.ts';
import type { EngineContext } from './context.ts';
import { copyIntoData, DATA } from './data-folder.ts';
import { withoutForgottenDrives } from './drives.ts';
import { dropAbandonedLayers, finishPending, knownParents, removeLayer, simplifyLayers } from './layers.ts';
import { observe } from './observe.ts';
import { forceOff, judge } from './run-state.ts';
import { order } from './worker/client.ts';
import { savedSchema } from './worker/wire.ts';

/**
 * Standard snapshots: each freezes the drives' present files and puts a differencing disk on each. The definition says
 * which files are which, and changes in one step.
 */
export class QemuSnapshotService implements SnapshotService {
  readonly #context: EngineContext;

  constructor(context: EngineContext) {
    this.#context = context;
  }

  async list(vmId: string): Promise<SnapshotInfo[]> {
    const definition = await this.#context.store.load(vmId);
    return definition.snapshots.map((snapshot) => describe(definition, snapshot));
  }

  async resolve(vmId: string, nameOrId: string): Promise<SnapshotInfo> {
    const snapshots = await this.list(vmId);
    const byId = snapshots.find((snapshot) => snapshot.id === nameOrId.toLowerCase());
    if (byId) return byId;
    const named = snapshots.filter((snapshot) => nameKey(snapshot.name) === nameKey(nameOrId));
    // Trees show the first eight digits of an id.
    const isShortId = named.length === 0 && /^[0-9a-f]{8}$/i.test(nameOrId);
    const matches = isShortId ? snapshots.filter(({ id }) => id.startsWith(nameOrId.toLowerCase())) : named;
    const [only] = matches;
    if (!only) {
      throw new HvError('not-found', `there is no snapshot named ${JSON.stringify(nameOrId)}`, {
        detail: { name: nameOrId, vm: vmId },
        hint: 'See: hv snapshot list',
      });
    }
    if (matches.length > 1) {
      throw new HvError('ambiguous-name', `${matches.length} snapshots are named ${JSON.stringify(nameOrId)}`, {
        detail: { name: nameOrId, ids: matches.map((match) => match.id) },
        hint: 'Use an id.',
      });
    }
    return only;
  }

  async create(
    vmId: string,
    name: string,
    options: LongOptions & { readonly type?: SnapshotType } = {},
  ): Promise<SnapshotInfo> {
    const { type = 'Standard', ...long } = options;
    if (type !== 'Standard') {
      throw new HvError('unsupported', `${type} snapshots are not supported by this engine`, {
        hint: 'Take a Standard snapshot.',
      });
    }
    const wanted = validName(name, 'snapshot name');
    return this.#context.withLock(vmId, long.signal, async (found) => {
      await judge(this.#context, found, 'createSnapshot');
      mustAllowSnapshots(found);
      mustHaveOwnDisks(found);
      if (found.snapshots.some((snapshot) => nameKey(snapshot.name) === nameKey(wanted))) {
        throw new HvError('already-exists', `a snapshot named ${JSON.stringify(wanted)} exists already`, {
          detail: { name: wanted },
        });
      }
      const { state, runtime } = await observe(this.#context, found);
      if (!runtime) await this.#context.releaseDisks(vmId);
      const definition = await finishPending(this.#context, found, long);
      const changed = runtime
        ? await this.#createLive(definition, wanted, long)
        : await this.#createStopped(definition, wanted, state === 'Saved' ? 'Saved' : 'Off', long);
      const snapshot = changed.snapshots.at(-1);
      if (!snapshot) throw new HvError('internal', 'a new snapshot is the last of its list');
      return describe(changed, snapshot);
    });
  }

  /** The worker stops the guest, writes its memory, and makes the new layers; the definition decides. */
  async #createLive(definition: VmDefinition, name: string, long: LongOptions): Promise<VmDefinition> {
    const id = randomUUID();
    const memoryFile = `${DATA.snapshots}/${id}.state`;
    const nvramFile = definition.nvramFile === null ? null : `${DATA.snapshots}/${id}.nvram`;
    const children = definition.specification.hardDiskDrives.map((drive) => ({
      driveId: drive.id,
      file: layerFile(id, drive),
    }));
    await using worker = await this.#context.worker(definition.id);
    let changed = definition;
    await this.#context.decide(worker, definition.id, {
      prepare: () => worker.ask(order({ op: 'snapshot', memoryFile, nvramFile, children }), savedSchema, long),
      write: async ({ paused }) => {
        const creationTime = new Date().toISOString();
        changed = withSnapshot(definition, {
          id,
          name,
          creationTime,
          vmState: paused ? 'Paused' : 'Running',
          savedState: { file: memoryFile, savedTime: creationTime, paused },
          nvramFile,
        });
        await this.#context.store.save(changed);
      },
    });
    return changed;
  }

  async #createStopped(
    definition: VmDefinition,
    name: string,
    vmState: 'Off' | 'Saved',
    long: LongOptions,
  ): Promise<VmDefinition> {
    const id = randomUUID();
    await using undo = new Undo();
    await this.#makeLayers(definition, definition.specification, id, undo, long);
    const nvramFile = definition.nvramFile === null ? null : `${DATA.snapshots}/${id}.nvram`;
    if (nvramFile !== null && definition.nvramFile !== null)
      await this.#copyData(definition, definition.nvramFile, nvramFile, undo);
    const memoryFile = definition.savedState ? `${DATA.snapshots}/${id}.state` : null;
    if (memoryFile !== null && definition.savedState)
      await this.#linkData(definition, definition.savedState.file, memoryFile, undo);
    throwIfAborted(long.signal, 'the snapshot');
    const changed = withSnapshot(definition, {
      id,
      name,
      creationTime: new Date().toISOString(),
      vmState,
      savedState: definition.savedState && memoryFile !== null ? { ...definition.savedState, file: memoryFile } : null,
      nvramFile,
    });
    await this.#context.store.save(changed);
    undo.commit();
    return changed;
  }

  async apply(vmId: string, snapshotId: string, long: LongOptions = {}): Promise<void> {
    await this.#context.withLock(vmId, long.signal, async (found) => {
      await judge(this.#context, found, 'applySnapshot');
      const snapshot = requireSnapshot(found, snapshotId);
      await forceOff(this.#context, found);
      await this.#context.releaseDisks(vmId);
      const definition = await finishPending(this.#context, found, long);
      const layerId = randomUUID();
      await using undo = new Undo();
      await this.#makeLayers(definition, snapshot.specification, layerId, undo, long);
      const nvramFile = snapshot.nvramFile === null ? null : `${DATA.saved}/${layerId}.nvram`;
      if (nvramFile !== null && snapshot.nvramFile !== null)
        await this.#copyData(definition, snapshot.nvramFile, nvramFile, undo);
      const memoryFile = snapshot.savedState ? `${DATA.saved}/${layerId}.state` : null;
      if (memoryFile !== null && snapshot.savedState)
        await this.#linkData(definition, snapshot.savedState.file, memoryFile, undo);
      throwIfAborted(long.signal, 'applying the snapshot');
      const changed = withoutForgottenDrives({
        ...definition,
        // The name is the machine's, not the snapshot's.
        specification: {
          ...withLayers(snapshot.specification, definition, layerId),
          name: definition.specification.name,
        },
        savedState: snapshot.savedState && memoryFile !== null ? { ...snapshot.savedState, file: memoryFile } : null,
        nvramFile,
        currentSnapshotId: snapshot.id,
      });
      await this.#context.store.save(changed);
      undo.commit();
      await this.#dropAbandoned(definition, changed);
    });
  }

  async delete(vmId: string, snapshotId: string, long: LongOptions = {}): Promise<void> {
    await this.#context.withLock(vmId, long.signal, async (found) => {
      await judge(this.#context, found, 'deleteSnapshot');
      requireSnapshot(found, snapshotId);
      const { runtime } = await observe(this.#context, found);
      if (!runtime) await this.#context.releaseDisks(vmId);
      const definition = await finishPending(this.#context, found, long);
      const snapshot = requireSnapshot(definition, snapshotId);
      const changed = withoutForgottenDrives({
        ...definition,
        snapshots: definition.snapshots
          .filter((other) => other.id !== snapshotId)
          .map((other) => (other.parentId === snapshotId ? { ...other, parentId: snapshot.parentId } : other)),
        currentSnapshotId:
          definition.currentSnapshotId === snapshotId ? snapshot.parentId : definition.currentSnapshotId,
      });
      await this.#context.store.save(changed);
      for (const file of [snapshot.savedState?.file, snapshot.nvramFile]) {
        if (typeof file === 'string') await rm(join(definition.dataPath, file), { force: true });
      }
      await this.#dropAbandoned(definition, changed);
      await simplifyLayers(this.#context, changed, long);
    });
  }

  /** A differencing disk on each of the drives' files. */
  async #makeLayers(
    definition: VmDefinition,
    specification: VmDefinition['specification'],
    layerId: string,
    undo: Undo,
    long: LongOptions,
  ): Promise<void> {
    for (const drive of specification.hardDiskDrives) {
      throwIfAborted(long.signal, 'making the new layers');
      const path = join(definition.dataPath, layerFile(layerId, drive));
      await createVhd(path, { type: 'differencing', parentPath: drive.path, allowParents: knownParents(definition) });
      undo.defer(() => removeLayer(path));
      await goOnTracking(drive.path, path);
    }
  }

  async #copyData(definition: VmDefinition, from: string, to: string, undo: Undo): Promise<void> {
    await copyIntoData(definition, join(definition.dataPath, from), to);
    undo.defer(() => rm(join(definition.dataPath, to), { force: true }));
  }

  /** A memory state never changes once written: two names for one file do. */
  async #linkData(definition: VmDefinition, from: string, to: string, undo: Undo): Promise<void> {
    const path = join(definition.dataPath, to);
    await link(join(definition.dataPath, from), path);
    undo.defer(() => rm(path, { force: true }));
  }

  /** Deletes files that the old definition named and the new one does not, and on which nothing stands. */
  async #dropAbandoned(before: VmDefinition, after: VmDefinition): Promise<void> {
    await dropAbandonedLayers(before, after);
    const kept = new Set([
      after.savedState?.file,
      after.nvramFile,
      ...after.snapshots.flatMap((each) => [each.savedState?.file, each.nvramFile]),
    ]);
    for (const file of [before.savedState?.file, before.nvramFile]) {
      if (typeof file === 'string' && !kept.has(file)) await rm(join(before.dataPath, file), { force: true });
    }
  }
}

/** A layer has the format of what it stands on, and its name says so. */
function layerFile(layerId: string, { id, path }: VmDefinition['specification']['hardDiskDrives'][number]): string {
  const ending = formatOf(path) === 'vhd' ? 'avhd' : 'avhdx';
  return `${DATA.disks}/${layerId.slice(0, 13)}-${id.slice(0, 8)}.${ending}`;
}

/** The same drives, each on its layer. */
function withLayers(
  specification: VmDefinition['specification'],
  definition: VmDefinition,
  layerId: string,
): VmDefinition['specification'] {
  return {
    ...specification,
    hardDiskDrives: specification.hardDiskDrives.map((drive) => ({
      ...drive,
      path: join(definition.dataPath, layerFile(layerId, drive)),
    })),
  };
}

/** Its owner may have said that there shall be none. */
function mustAllowSnapshots({ id, specification: { name, checkpoints } }: VmDefinition): void {
  if (checkpoints.type !== 'Disabled') return;
  throw new HvError('invalid-state', `snapshots of "${name}" are disabled`, {
    detail: { id, vm: name, checkpointType: checkpoints.type },
    hint: `Allow them: hv vm set ${JSON.stringify(name)} --checkpoints Standard`,
  });
}

/** A VHD Set has snapshots of its own: a machine's layers on its disk would be lost with the next one that is applied. */
function mustHaveOwnDisks({ specification, id }: VmDefinition): void {
  const device = specification.hardDiskDrives.find(({ isPhysical }) => isPhysical);
  if (device) {
    throw new HvError('unsupported', `a machine with a pass-through drive gets no snapshots: ${device.path}`, {
      detail: { id, path: device.path },
      hint: 'Remove that drive first, or save the machine instead.',
    });
  }
  const set = specification.hardDiskDrives.find(({ path }) => path.toLowerCase().endsWith('.vhds'));
  if (!set) return;
  throw new HvError('unsupported', `a machine whose disk is a VHD Set gets no snapshots: ${set.path}`, {
    detail: { id, path: set.path },
    hint: 'Stop the machine and take a snapshot of the set: hv vhdset snapshot.',
  });
}

function withSnapshot(
  definition: VmDefinition,
  snapshot: Pick<SnapshotDefinition, 'id' | 'name' | 'creationTime' | 'vmState' | 'savedState' | 'nvramFile'>,
): VmDefinition {
  return {
    ...definition,
    snapshots: [
      ...definition.snapshots,
      {
        ...snapshot,
        type: 'Standard',
        tpmFile: null,
        parentId: definition.currentSnapshotId,
        specification: definition.specification,
      },
    ],
    currentSnapshotId: snapshot.id,
    specification: withLayers(definition.specification, definition, snapshot.id),
  };
}

function requireSnapshot(definition: VmDefinition, snapshotId: string): SnapshotDefinition {
  const snapshot = definition.snapshots.find((each) => each.id === snapshotId);
  if (!snapshot)
    throw new HvError('not-found', `there is no snapshot with the id ${snapshotId}`, { detail: { id: snapshotId } });
  return snapshot;
}

function describe(definition: VmDefinition, snapshot: SnapshotDefinition): SnapshotInfo {
  const parent = definition.snapshots.find((each) => each.id === snapshot.parentId);
  return {
    id: snapshot.id,
    name: snapshot.name,
    vmId: definition.id,
    vmName: definition.specification.name,
    type: snapshot.type,
    creationTime: snapshot.creationTime,
    parentId: snapshot.parentId,
    parentName: parent?.name ?? null,
    vmState: snapshot.vmState,
    isCurrent: definition.currentSnapshotId === snapshot.id,
  };
}
