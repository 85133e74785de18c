import { rm } from 'node:fs/promises';
import { type LongOptions, sleep } from '../../async/index.ts';
import { type BrokenMirror, createVhd, vhdInfo } from '../../disk/index.ts';
import { HvError, isHvError } from '../../errors/index.ts';
import type { VmDefinition } from '../../state/index.ts';
import { handOver } from './change-settings.ts';
import type { EngineContext } from './context.ts';
import { observe } from './observe.ts';
import { order } from './worker/client.ts';

/**
 * Mirrors of a running machine's disk. The definition names the second file, because the worker that serves the disks has
 * given up the right to open it: it leaves the machine to a successor, which opens both. So does the successor of a worker
 * that dies: the mirror is then made anew.
 */

type Drive = VmDefinition['specification']['hardDiskDrives'][number];

const ATTEMPTS = 4;
const AGAIN_MS = 200;

/** Makes the second file and waits until it holds the same as the drive's disk; from then on every write goes to both. */
export async function startMirror(
  context: EngineContext,
  vmId: string,
  driveId: string,
  targetPath: string,
  long: LongOptions,
): Promise<void> {
  const isNew = await context.withLock(vmId, long.signal, async (found) => {
    const drive = requireDrive(found, driveId);
    await requireRunning(context, found);
    const present = found.mirrors?.[driveId];
    if (present === targetPath) return false;
    if (present !== undefined) throw mirrored(found, present);
    if (found.pending)
      throw new HvError('invalid-state', 'a merge of this machine is not finished: take or delete a snapshot first');
    const { virtualSizeBytes, logicalSectorSizeBytes, physicalSectorSizeBytes } = await vhdInfo(drive.path);
    await createVhd(targetPath, {
      sizeBytes: virtualSizeBytes,
      ...(targetPath.endsWith('.vhdx') ? { logicalSectorSizeBytes, physicalSectorSizeBytes } : {}),
    });
    await context.store.save({ ...found, mirrors: { ...found.mirrors, [driveId]: targetPath } });
    await handOver(context, vmId);
    return true;
  });
  try {
    await waitMirror(context, vmId, driveId, long);
  } catch (error) {
    if (isNew && !isHvError(error, 'aborted')) {
      await breakMirror(context, vmId, driveId, false, {});
      await rm(targetPath, { force: true });
    }
    throw error;
  }
}

/** An abort stops waiting; the mirror goes on. */
async function waitMirror(context: EngineContext, vmId: string, driveId: string, long: LongOptions): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await using worker = await context.worker(vmId);
      await worker.call(order({ op: 'wait-mirror', driveId }), long);
      return;
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
      // The command that asked for the mirror died before its worker heard of it.
      if (isHvError(error, 'invalid-state')) await handOverIfMirrored(context, vmId, driveId, error);
      // A worker that died has a successor, which begins anew.
      else if (!isHvError(error, 'process-failed')) throw error;
      await sleep(AGAIN_MS, long);
    }
  }
}

async function handOverIfMirrored(
  context: EngineContext,
  vmId: string,
  driveId: string,
  otherwise: HvError,
): Promise<void> {
  await context.withLock(vmId, undefined, async ({ mirrors }) => {
    if (mirrors?.[driveId] === undefined) throw otherwise;
    await handOver(context, vmId);
  });
}

/** Ends a mirror: the drive goes on with its own file, or with the mirror. */
export async function breakMirror(
  context: EngineContext,
  vmId: string,
  driveId: string,
  switchOver: boolean,
  long: LongOptions,
): Promise<BrokenMirror> {
  return context.withLock(vmId, long.signal, async (found) => {
    const drive = requireDrive(found, driveId);
    const mirrorPath = found.mirrors?.[driveId];
    if (mirrorPath === undefined) {
      throw new HvError('invalid-state', `${drive.path} has no mirror`, { detail: { path: drive.path, id: vmId } });
    }
    const { [driveId]: _broken, ...others } = found.mirrors ?? {};
    const { mirrors: _all, ...rest } = found;
    const without: VmDefinition = Object.keys(others).length === 0 ? rest : { ...rest, mirrors: others };
    const { runtime } = await observe(context, found);
    if (!switchOver) {
      if (runtime) {
        await using worker = await context.worker(vmId);
        await worker.call(order({ op: 'break-mirror', driveId, switchOver }), long);
      }
      await context.store.save(without);
      return { mirrorPath, path: drive.path };
    }
    await requireRunning(context, found);
    if (found.snapshots.length > 0 || drive.path !== found.attached[driveId]) {
      throw new HvError('invalid-state', `the snapshots of "${found.specification.name}" stand on ${drive.path}`, {
        detail: { id: vmId, path: drive.path },
        hint: 'Delete its snapshots first, which works while it runs; or break the mirror without --switch.',
      });
    }
    await using worker = await context.worker(vmId);
    await context.decide(worker, vmId, {
      prepare: () => worker.call(order({ op: 'break-mirror', driveId, switchOver }), long),
      write: () => context.store.save(onMirror(without, drive, mirrorPath)),
    });
    return { mirrorPath, path: mirrorPath };
  });
}

/** The mirror is a file of its own: nothing is under it. */
function onMirror(definition: VmDefinition, drive: Drive, mirrorPath: string): VmDefinition {
  const { specification } = definition;
  const hardDiskDrives = specification.hardDiskDrives.map((each) =>
    each.id === drive.id ? { ...each, path: mirrorPath } : each,
  );
  return {
    ...definition,
    specification: { ...specification, hardDiskDrives },
    attached: { ...definition.attached, [drive.id]: mirrorPath },
    parents: { ...definition.parents, [drive.id]: [] },
  };
}

async function requireRunning(context: EngineContext, definition: VmDefinition): Promise<void> {
  const { state } = await observe(context, definition);
  if (state === 'Running' || state === 'Paused') return;
  throw new HvError(
    'invalid-state',
    `"${definition.specification.name}" is ${state}: a mirror follows a running machine`,
    {
      detail: { id: definition.id, state },
      hint: 'Copy the disk of a machine that is off with: hv vhd convert',
    },
  );
}

function requireDrive(definition: VmDefinition, driveId: string): Drive {
  const drive = definition.specification.hardDiskDrives.find((each) => each.id === driveId);
  if (!drive) throw new HvError('not-found', `the machine has no drive ${driveId}`, { detail: { id: definition.id } });
  return drive;
}

function mirrored(definition: VmDefinition, mirrorPath: string): HvError {
  return new HvError('in-use', `"${definition.specification.name}" is mirrored to ${mirrorPath} already`, {
    detail: { id: definition.id, mirrorPath },
    hint: 'Break that mirror first: hv vhd break-mirror',
  });
}
