import type { VmSpecification } from '../../../../model/index.ts';
import type { DataPlane } from '../../../../protocols/nbd/index.ts';
import { dvdNames } from '../../drive-devices.ts';
import { describe, log } from '../../log.ts';
import { isBackup } from '../changed-blocks.ts';
import type { Prepared } from '../two-step.ts';
import type { LiveMachine } from './live-machine.ts';
import { reconcile } from './reconcile.ts';

/**
 * Changes the settings of a running machine. What a change leaves unused stays open until the decision, so that the way
 * back needs no right to open it again.
 * @throws HvError what the change met; it has been undone then
 */
export async function prepareSettings(
  machine: LiveMachine,
  dataPlane: DataPlane,
  change: { readonly from: VmSpecification; readonly to: VmSpecification },
  onCommit: () => void,
): Promise<Prepared> {
  const goBack = (): Promise<void> => reconcile(machine, change.from);
  try {
    await reconcile(machine, change.to);
  } catch (error) {
    await goBack().catch((failure: unknown) => log(`the way back: ${describe(failure)}`));
    throw error;
  }
  return {
    kind: 'apply-settings',
    commit: async () => {
      onCommit();
      await closeUnused(dataPlane, change.to);
    },
    abort: goBack,
    keep: async () => {},
  };
}

/** Closes the files that no drive has any more. */
async function closeUnused(dataPlane: DataPlane, specification: VmSpecification): Promise<void> {
  const used = new Set([
    ...specification.hardDiskDrives.map(({ id }) => id),
    ...specification.dvdDrives.flatMap((dvd) => dvdNames(dvd).medium?.export ?? []),
  ]);
  for (const name of Object.keys(await dataPlane.stats())) {
    if (!used.has(name) && !isBackup(name)) await dataPlane.removeExport(name);
  }
}
