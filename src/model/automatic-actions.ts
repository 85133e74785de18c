/** What happens to a machine when the host starts (Msvm_VirtualSystemSettingData.AutomaticStartupAction). */
export const AUTOMATIC_START_ACTIONS = ['Nothing', 'StartIfRunning', 'Start'] as const;
export type AutomaticStartAction = (typeof AUTOMATIC_START_ACTIONS)[number];

/** What happens to it when the host goes down (Msvm_VirtualSystemSettingData.AutomaticShutdownAction). */
export const AUTOMATIC_STOP_ACTIONS = ['TurnOff', 'Save', 'ShutDown'] as const;
export type AutomaticStopAction = (typeof AUTOMATIC_STOP_ACTIONS)[number];

export interface AutomaticActions {
  readonly start: AutomaticStartAction;
  /** Waited before the start, so that not all begin at once: 0 to 86400. */
  readonly startDelaySeconds: number;
  readonly stop: AutomaticStopAction;
}

export const DEFAULT_AUTOMATIC_ACTIONS: AutomaticActions = {
  start: 'StartIfRunning',
  startDelaySeconds: 0,
  stop: 'Save',
};
