import type { EventQuery, HostEvent, OperationInfo, VmMeasurement } from '../model/index.ts';

/** What happened on this host, who did it, and what machines use. */
export interface EventService {
  /**
   * What happened, oldest first. Windows: the event log channels Microsoft-Windows-Hyper-V-VMMS-Admin and -Worker-Admin.
   * @throws `permission-denied`, `io`
   */
  list(query?: EventQuery): Promise<HostEvent[]>;

  /**
   * What happens from now on, from every machine and every process; with `since`, what happened from then on first.
   * Ends with the signal. Windows: __InstanceModificationEvent on Msvm_ComputerSystem and Msvm_SummaryInformation.
   */
  follow(options: { readonly signal: AbortSignal } & Pick<EventQuery, 'vmId' | 'since'>): AsyncIterable<HostEvent>;

  /** Who did what, oldest first. Windows: Msvm_ConcreteJob, and the event log for those that are over. */
  operations(query?: EventQuery): Promise<OperationInfo[]>;

  /**
   * What a running machine has used since its start. Windows: Msvm_MetricService over Msvm_AggregationMetricValue.
   * @throws `not-found`, `invalid-state` (it does not run)
   */
  measure(vmId: string): Promise<VmMeasurement>;
}
