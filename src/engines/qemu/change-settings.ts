import { isHvError } from '../../errors/index.ts';
import type { VmDefinition } from '../../state/index.ts';
import type { EngineContext } from './context.ts';
import { observe } from './observe.ts';
import { order } from './worker/client.ts';

/**
 * Changes a machine's settings: of a running one first in QEMU, then in its definition; what fails has been undone. Called
 * with the machine's lock held, and the change judged.
 */
export async function changeSettings(
  context: EngineContext,
  definition: VmDefinition,
  changed: VmDefinition,
): Promise<void> {
  const { runtime } = await observe(context, definition);
  if (runtime) await applyLive(context, changed, () => context.store.save(changed));
  else await context.store.save(changed);
}

/**
 * The same for a change that brings in a file which the running machine's worker has no right to open: the definition is
 * written first, and a successor of the worker opens what it says.
 */
export async function changeSettingsAndFiles(
  context: EngineContext,
  definition: VmDefinition,
  changed: VmDefinition,
): Promise<void> {
  await context.store.save(changed);
  if (!(await observe(context, definition)).runtime) return;
  try {
    await handOver(context, changed.id);
    await applyLive(context, changed, async () => {});
  } catch (error) {
    if ((await observe(context, definition)).runtime) {
      await context.store.save(definition);
      await applyLive(context, definition, async () => {});
      throw error;
    }
    // It went off meanwhile: its next start makes it what the definition says.
    if (!isHvError(error, 'process-failed') && !isHvError(error, 'invalid-state')) throw error;
  }
}

async function applyLive(context: EngineContext, changed: VmDefinition, write: () => Promise<void>): Promise<void> {
  await using worker = await context.worker(changed.id);
  await context.decide(worker, changed.id, {
    prepare: () => worker.call(order({ op: 'apply-settings', specification: changed.specification })),
    write,
  });
}

/** The worker leaves the machine to a successor, which opens what the definition says by now. */
export async function handOver(context: EngineContext, vmId: string): Promise<void> {
  await using worker = await context.worker(vmId);
  await worker.call(order({ op: 'hand-over' }));
  await worker.closed;
}
