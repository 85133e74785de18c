import type { QmpClient } from '../../../../protocols/qmp/index.ts';

/** A QEMU that lives, as what changes it sees it. */
export interface LiveMachine {
  readonly monitor: QmpClient;
  readonly runFolder: string;
}

/** Where QEMU keeps the devices that have an id. */
export const PERIPHERALS = '/machine/peripheral';
