/** How a machine's virtual processors share the host's (Msvm_ProcessorSettingData); their number is `processorCount`. */
export interface ProcessorSettings {
  /** How many there may be while it runs; more than `processorCount` lets processors be added then. Null: no more. */
  readonly maximumCount: number | null;
  /** Of each virtual processor, so much is kept free for it, in percent: 0 to 100. */
  readonly reservationPercent: number;
  /** Of each virtual processor, at most so much is given to it, in percent: 1 to 100. */
  readonly limitPercent: number;
  /** Its share where processors are scarce, against other machines: 1 to 10000. */
  readonly relativeWeight: number;
  /** The guest may run virtual machines of its own. */
  readonly nestedVirtualization: boolean;
}

export const DEFAULT_PROCESSOR: ProcessorSettings = {
  maximumCount: null,
  reservationPercent: 0,
  limitPercent: 100,
  relativeWeight: 100,
  nestedVirtualization: false,
};
