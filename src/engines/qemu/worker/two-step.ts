import { copyFile, open, rm } from 'node:fs/promises';
import type { DataPlane } from '../../../protocols/nbd/index.ts';
import { type QmpClient, saveToFile, stop, waitPostmigrate } from '../../../protocols/qmp/index.ts';
import type { WorkerRequest } from './wire.ts';

/**
 * The operations that change a machine and its definition as one: everything is prepared with the guest stopped, the
 * command writes the definition, and then says `commit`.
 */

/** Work that is prepared and waits for its command's decision. */
export interface Prepared {
  readonly kind: 'start' | 'save' | 'snapshot' | 'merge' | 'break-mirror' | 'apply-settings';
  commit(): Promise<void>;
  abort(): Promise<void>;
  /** The machine ends first. What the definition may name by now stays; what it does not name is garbage then. */
  keep(): Promise<void>;
}

export interface OrderControl {
  /** Fires when the one who gave the order is gone. */
  readonly signal: AbortSignal;
  onProgress(phase: string, done: number, total?: number): void;
}

/** A machine as these operations see it. */
export interface StoppableMachine {
  readonly dataPlane: DataPlane;
  readonly nvramFile: string | null;
  readonly stateSocket: string;
  monitor(): QmpClient;
  /** Lets the guest go on as it did before; does nothing when the machine is going off. */
  goOn(): Promise<void>;
  end(kind: 'saved', message: string): Promise<void>;
}

export async function prepareSave(machine: StoppableMachine, file: string, control: OrderControl): Promise<Prepared> {
  const rollBack = async (): Promise<void> => {
    await rm(file, { force: true });
    await machine.goOn();
  };
  try {
    await writeMemory(machine, file, control);
    await machine.dataPlane.flush();
  } catch (error) {
    await rollBack();
    throw error;
  }
  return {
    kind: 'save',
    commit: () => machine.end('saved', 'Its state was saved.'),
    abort: rollBack,
    keep: async () => {},
  };
}

export async function prepareSnapshot(
  machine: StoppableMachine,
  request: Extract<WorkerRequest, { op: 'snapshot' }>,
  control: OrderControl,
): Promise<Prepared> {
  const { dataPlane, nvramFile } = machine;
  const prepared: string[] = [];
  const commitEach = async (): Promise<void> => {
    // A layer that is in use is not prepared any more: this may run again after a failure.
    while (prepared[0] !== undefined) {
      await dataPlane.commitChild(prepared[0]);
      prepared.shift();
    }
  };
  let committing: Promise<void> | undefined;
  // The machine may end in the midst of a commit: whoever comes second waits for the first.
  const commitLayers = (): Promise<void> => {
    committing ??= commitEach().finally(() => {
      committing = undefined;
    });
    return committing;
  };
  const rollBack = async (): Promise<void> => {
    for (const driveId of prepared) await dataPlane.abandonChild(driveId);
    await rm(request.memoryFile, { force: true });
    if (request.nvramFile !== null) await rm(request.nvramFile, { force: true });
    await machine.goOn();
  };
  try {
    await writeMemory(machine, request.memoryFile, control);
    if (request.nvramFile !== null && nvramFile !== null) await copyDurably(nvramFile, request.nvramFile);
    for (const { driveId, file } of request.children) {
      await dataPlane.prepareChild(driveId, file);
      prepared.push(driveId);
    }
  } catch (error) {
    await rollBack();
    throw error;
  }
  return {
    kind: 'snapshot',
    commit: async () => {
      await commitLayers();
      await machine.goOn();
    },
    abort: rollBack,
    // Closing a disk deletes the layer that was only prepared: once it is in use, it stays.
    keep: commitLayers,
  };
}

/** Stops the guest and writes its memory and devices to a file in the data folder. */
async function writeMemory(machine: StoppableMachine, file: string, control: OrderControl): Promise<void> {
  const monitor = machine.monitor();
  await stop(monitor);
  await rm(machine.stateSocket, { force: true }); // of a worker that was killed while it listened
  await saveToFile(monitor, machine.stateSocket, file, {
    signal: control.signal,
    onProgress: (progress) => control.onProgress(progress.phase, progress.done, progress.total),
  });
  await waitPostmigrate(monitor);
}

async function copyDurably(from: string, to: string): Promise<void> {
  await copyFile(from, to);
  await using file = await open(to, 'r+');
  await file.sync();
}
