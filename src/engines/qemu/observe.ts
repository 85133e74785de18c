import { assertNever, HvError } from '../../errors/index.ts';
import type { VmState } from '../../model/index.ts';
import { type RuntimeRecord, readLastExit, readRuntime, type VmDefinition } from '../../state/index.ts';
import { bootId, isAlive, type ProcessIdentity, processOwner } from '../../system/index.ts';
import type { EngineContext } from './context.ts';

export const UNWATCHED_END = 'Its QEMU process ended while no worker watched it.';

export interface Observation {
  readonly state: VmState;
  readonly reason: string | null;
  /** Only while its QEMU lives, or the worker that puts things in order after it. */
  readonly runtime: RuntimeRecord | null;
}

/** What a machine is doing now, from its definition, its runtime record and the processes named there. Asks nobody. */
export async function observe(context: EngineContext, definition: VmDefinition): Promise<Observation> {
  const record = await readRuntime(context.runFolder(definition.id));
  if (record && record.bootId === bootId() && isProcessOf(definition, record.qemu)) {
    return { state: stateOf(record), reason: record.pauseReason, runtime: record };
  }
  if (record && record.bootId === bootId() && isProcessOf(definition, record.worker)) {
    // Its worker is still closing the disks and writing down how it ended.
    return { state: 'Stopping', reason: null, runtime: record };
  }
  const state = definition.savedState ? 'Saved' : 'Off';
  if (record) {
    const reason = record.bootId === bootId() ? UNWATCHED_END : 'The host was restarted while it ran.';
    return { state, reason, runtime: null };
  }
  const exit = await readLastExit(definition.dataPath);
  const isAbout = state === 'Off' || exit?.kind === 'saved'; // a snapshot may have put a saved state there since
  return { state, reason: exit && isAbout ? exit.message : null, runtime: null };
}

/** The record is written by the machine's own user: a process of somebody else that it names is not the machine's. */
function isProcessOf(definition: VmDefinition, identity: ProcessIdentity): boolean {
  return isAlive(identity) && (definition.user === null || processOwner(identity.pid) === definition.user.uid);
}

/** What a phase is for a user. */
export function stateOf(record: RuntimeRecord): VmState {
  switch (record.phase) {
    case 'starting':
      return 'Starting';
    case 'running':
      return 'Running';
    case 'paused':
      return 'Paused';
    case 'saving':
      return 'Saving';
    case 'snapshotting':
    case 'merging':
      return record.resumeTo === 'running' ? 'Running' : 'Paused';
    case 'stopping':
      return 'Stopping';
    default:
      return assertNever(record.phase);
  }
}

export function uptimeSeconds(observation: Observation): number {
  if (!observation.runtime) return 0;
  return Math.max(0, Math.floor((Date.now() - Date.parse(observation.runtime.startedTime)) / 1000));
}

/** @throws HvError `invalid-state` unless the machine runs: `its keyboard` needs that */
export async function requireRunning(context: EngineContext, definition: VmDefinition, what: string): Promise<void> {
  const { state } = await observe(context, definition);
  if (state === 'Running') return;
  const { name } = definition.specification;
  throw new HvError('invalid-state', `"${name}" is ${state}: ${what} needs a running machine`, {
    detail: { id: definition.id, state },
    hint: state === 'Paused' ? 'Resume it first.' : 'Start it first.',
  });
}
