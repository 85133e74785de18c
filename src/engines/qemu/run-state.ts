import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type LongOptions, poll } from '../../async/index.ts';
import { fromSystemError, HvError, isHvError, isSystemError } from '../../errors/index.ts';
import { judgeMove, type VmSpecification } from '../../model/index.ts';
import { ensureFolders, removeRuntime, type VmDefinition } from '../../state/index.ts';
import { isAlive, processOwner, readMemory, requireProgram } from '../../system/index.ts';
import type { EngineContext } from './context.ts';
import type { ControlClient } from './control/client.ts';
import { collectGarbage, copyIntoData, makeRunFolder, readTail } from './data-folder.ts';
import { canSimplify, finishPending, readForest, simplifyLayers } from './layers.ts';
import { observe } from './observe.ts';
import { machineTypeFor } from './qemu-arguments.ts';
import { QEMU_SYSTEM, qemuVersion, requireFirmware } from './qemu-programs.ts';
import { order } from './worker/client.ts';
import { QEMU_LOG } from './worker/qemu-process.ts';
import { savedSchema } from './worker/wire.ts';

const EXIT_TIMEOUT_MS = 15_000;
const FORCE_STOP_MS = 5000;

/** The moves of one machine between Off, Running and Saved. Each is called with the machine's lock held. */

/** From Off or Saved to Running. */
export async function startMachine(context: EngineContext, given: VmDefinition, long: LongOptions = {}): Promise<void> {
  let definition = await prepareStart(context, await tidyLayers(context, given, long));
  const { savedState } = definition;
  await using worker = await context.startWorker(definition.id);
  const start = order({ op: 'start', restoreFrom: savedState?.file ?? null, paused: false });
  const prepare = async (): Promise<void> => {
    try {
      await worker.call(start, long);
    } catch (error) {
      throw await explainStartFailure(definition, error);
    }
  };
  if (!savedState) {
    // Nothing is written down: without its worker this start has come to nothing.
    await prepare();
    await worker.call(order({ op: 'commit' }));
    return;
  }
  await context.decide(worker, definition.id, {
    prepare,
    // From here on the saved state is spent: the guest is about to write to its disks.
    write: async () => {
      definition = { ...definition, savedState: null };
      await context.store.save(definition);
    },
  });
  await removeUnlessNamed(definition, savedState.file);
}

/** Finishes what a command that was cut short left of its merges. */
async function tidyLayers(context: EngineContext, given: VmDefinition, long: LongOptions): Promise<VmDefinition> {
  if (!given.pending && !(await canSimplify(given))) return given;
  await context.releaseDisks(given.id);
  return simplifyLayers(context, await finishPending(context, given, long), long);
}

/** What a start needs beside the worker: everything here can fail without anything having happened. */
async function prepareStart(context: EngineContext, definition: VmDefinition): Promise<VmDefinition> {
  const { specification } = definition;
  // A pinned machine has met its QEMU before: looking at the version again would only cost a process.
  const machineType = definition.machineType ?? machineTypeFor(specification.generation, await qemuVersion());
  await requireProgram(QEMU_SYSTEM);
  const firmware = specification.generation === 2 ? await requireFirmware() : null;
  const images = specification.dvdDrives.flatMap(({ path }) => path ?? []);
  for (const path of [...specification.hardDiskDrives.map((drive) => drive.path), ...images]) await requireFile(path);
  mustFitHost(specification);
  await ensureFolders(context.paths); // a restart of the host emptied the folder of run folders
  await makeRunFolder(context.runFolder(definition.id), definition.user);
  await removeRuntime(context.runFolder(definition.id));
  await collectGarbage(definition, (await readForest(definition)).files);
  let prepared = definition;
  if (definition.mirrors) {
    const { mirrors: _ended, ...rest } = definition;
    prepared = rest;
  }
  if (definition.machineType === null) prepared = { ...prepared, machineType };
  if (firmware && definition.nvramFile === null) {
    const nvramFile = 'nvram.fd';
    await rm(join(definition.dataPath, nvramFile), { force: true }); // of a start that came to nothing
    await copyIntoData(definition, firmware.variables, nvramFile);
    prepared = { ...prepared, nvramFile };
  }
  if (prepared !== definition) await context.store.save(prepared);
  return prepared;
}

/** @throws HvError `no-space`: the host has less memory than the machine wants */
export function mustFitHost({ name, memoryBytes }: VmSpecification): void {
  const { totalBytes } = readMemory();
  if (memoryBytes <= totalBytes) return;
  throw new HvError('no-space', `"${name}" wants more memory than this host has`, {
    detail: { memoryBytes, hostMemoryBytes: totalBytes },
    hint: `Give it less: hv vm set ${JSON.stringify(name)} --memory 2G`,
  });
}

async function requireFile(path: string): Promise<void> {
  try {
    await stat(path);
  } catch (error) {
    throw fromSystemError(error, `cannot open the disk ${path}`, { path });
  }
}

async function explainStartFailure(definition: VmDefinition, error: unknown): Promise<unknown> {
  if (!isHvError(error, 'process-failed')) return error;
  const log = (await readTail(join(definition.dataPath, QEMU_LOG), 2000)).trim();
  return new HvError('process-failed', error.message, {
    detail: { ...error.detail, log },
    hint: `See: hv vm logs --engine ${definition.id}`,
    cause: error,
  });
}

/** From Running or Paused to Saved. */
export async function saveMachine(
  context: EngineContext,
  definition: VmDefinition,
  long: LongOptions = {},
): Promise<void> {
  const file = `saved/${Date.now().toString(36)}-${process.pid}.state`;
  await using worker = await context.worker(definition.id);
  await context.decide(worker, definition.id, {
    prepare: () => worker.ask(order({ op: 'save', file }), savedSchema, long),
    write: ({ paused }) =>
      context.store.save({ ...definition, savedState: { file, savedTime: new Date().toISOString(), paused } }),
  });
  await waitOff(context, definition, EXIT_TIMEOUT_MS);
}

/** Off at once, whatever the machine does; a saved state is thrown away. */
export async function forceOff(context: EngineContext, definition: VmDefinition): Promise<void> {
  const { runtime } = await observe(context, definition);
  if (!runtime) return;
  try {
    await using worker = await context.worker(definition.id);
    await switchOff(worker);
    await waitOff(context, definition, EXIT_TIMEOUT_MS);
    return;
  } catch (error) {
    if (!isHvError(error)) throw error; // the worker does not obey: the machine's processes are ended from here
  }
  killOwned(runtime.qemu.pid, () => isAlive(runtime.qemu), definition);
  killOwned(runtime.worker.pid, () => isAlive(runtime.worker), definition);
  await waitOff(context, definition, EXIT_TIMEOUT_MS);
}

/** A process is ended only when it really runs as the machine's own user: its record is written by that user. */
function killOwned(pid: number, isSame: () => boolean, definition: VmDefinition): void {
  if (!isSame()) return;
  const uid = definition.user?.uid ?? process.getuid?.();
  const owner = processOwner(pid);
  if (owner === undefined) return;
  if (owner !== uid) {
    throw new HvError(
      'permission-denied',
      `process ${pid} does not belong to the machine "${definition.specification.name}"`,
      { detail: { pid, owner } },
    );
  }
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!isSystemError(error, 'ESRCH')) throw error; // gone since
  }
}

async function switchOff(worker: ControlClient): Promise<void> {
  try {
    await worker.call(order({ op: 'force-stop' }), { signal: AbortSignal.timeout(FORCE_STOP_MS) });
  } catch (error) {
    // It may be gone before its answer is: what counts is that the machine is off.
    if (!isHvError(error, 'process-failed')) throw error;
  }
}

/** Waits until no process of the machine is left. */
async function waitOff(context: EngineContext, definition: VmDefinition, timeoutMs: number): Promise<void> {
  await poll(async () => ((await observe(context, definition)).runtime ? undefined : true), {
    timeoutMs,
    intervalMs: 10,
    doing: `waiting for "${definition.specification.name}" to be off`,
  });
}

/** Throws a saved state away: the machine is then as after a power cut. */
export async function discardSavedState(context: EngineContext, definition: VmDefinition): Promise<VmDefinition> {
  const { savedState } = definition;
  if (!savedState) return definition;
  const changed: VmDefinition = { ...definition, savedState: null };
  await context.store.save(changed);
  await removeUnlessNamed(changed, savedState.file);
  return changed;
}

async function removeUnlessNamed(definition: VmDefinition, file: string): Promise<void> {
  const isNamed = definition.snapshots.some((snapshot) => snapshot.savedState?.file === file);
  if (!isNamed) await rm(join(definition.dataPath, file), { force: true });
}

/** Asks the table whether a move is legal now. */
export async function judge(
  context: EngineContext,
  definition: VmDefinition,
  action: Parameters<typeof judgeMove>[0],
): Promise<'do' | 'done'> {
  const { state } = await observe(context, definition);
  return judgeMove(action, state, { id: definition.id, name: definition.specification.name });
}
