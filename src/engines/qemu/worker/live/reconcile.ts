import type { VmSpecification } from '../../../../model/index.ts';
import { reconcileBootOrder } from './boot-order.ts';
import { reconcileDrives } from './drives.ts';
import type { LiveMachine } from './live-machine.ts';
import { reconcileMedia } from './media.ts';
import { reconcileThrottles } from './throttles.ts';

/**
 * Each looks at what QEMU has, and changes what differs from the specification: nothing where nothing does. What a
 * machine gets only when it starts is none of their business. In this order.
 */
const SUBJECTS: readonly ((machine: LiveMachine, specification: VmSpecification) => Promise<void>)[] = [
  reconcileDrives,
  reconcileMedia,
  reconcileThrottles,
  reconcileBootOrder,
];

/** Makes a running QEMU what a specification says. It may be called again at any time, also after it failed half-way. */
export async function reconcile(machine: LiveMachine, specification: VmSpecification): Promise<void> {
  for (const subject of SUBJECTS) await subject(machine, specification);
}
