import type { VmSpecification } from '../../../../model/index.ts';
import { qomGet, qomSet } from '../../../../protocols/qmp/index.ts';
import { bootIndexes } from '../../drive-devices.ts';
import { type LiveMachine, PERIPHERALS } from './live-machine.ts';

const NONE = -1;

/** The order of booting, for the next reset. */
export async function reconcileBootOrder({ monitor }: LiveMachine, specification: VmSpecification): Promise<void> {
  const changes: [path: string, index: number][] = [];
  for (const [device, index] of bootIndexes(specification)) {
    const path = `${PERIPHERALS}/${device}`;
    const present = await qomGet(monitor, path, 'bootindex');
    if (present === index) continue;
    changes.push([path, index]);
    // Two devices never have the same place, not for a moment.
    if (present !== NONE) await qomSet(monitor, path, 'bootindex', NONE);
  }
  for (const [path, index] of changes) await qomSet(monitor, path, 'bootindex', index);
}
