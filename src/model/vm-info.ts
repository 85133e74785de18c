import type { NetworkAdapter, VmGeneration, VmSpecification } from './vm-specification.ts';
import type { VmState } from './vm-state.ts';

/** What a list of machines shows (Msvm_SummaryInformation). */
export interface VmSummary {
  readonly id: string;
  readonly name: string;
  readonly state: VmState;
  readonly generation: VmGeneration;
  readonly processorCount: number;
  readonly memoryBytes: number;
  /** Seconds since the start; 0 unless it runs. */
  readonly uptimeSeconds: number;
}

/** The definition's settings, beside what the machine does now. */
export interface VmInfo extends VmSummary, Omit<VmSpecification, 'networkAdapters' | 'allowedParents'> {
  /** ISO 8601, UTC. */
  readonly creationTime: string;
  /** Why the machine is in its state, where there is something to say: how it last stopped, why its engine died. */
  readonly stateReason: string | null;
  readonly networkAdapters: readonly (NetworkAdapter & { readonly ipAddresses: readonly string[] })[];
  /** `ok` while the guest's agent answers; null unless running. */
  readonly heartbeat: 'ok' | 'no-contact' | null;
  readonly snapshotCount: number;
  readonly currentSnapshotId: string | null;
  readonly configurationPath: string;
  /** The version of its virtual hardware, pinned at its first start; null before. */
  readonly machineVersion: string | null;
  /** A Unix socket on which a running machine's screen is served over VNC, to its own user and root only. */
  readonly vncSocketPath: string | null;
  /** Processes of a running machine. */
  readonly processes: { readonly engine: number; readonly worker: number | null } | null;
  readonly acceleration: 'kvm' | 'tcg' | 'hyperv' | null;
}

/**
 * What `wait` waits for: the guest agent answers (`heartbeat` is Hyper-V's word for `ready`), the guest has an IP
 * address, its SSH server greets there, the machine is off.
 */
export const WAIT_CONDITIONS = ['ready', 'heartbeat', 'ip', 'ssh', 'off'] as const;
export type WaitCondition = (typeof WAIT_CONDITIONS)[number];
