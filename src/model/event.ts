import type { VmState } from './vm-state.ts';

interface Happening {
  /** ISO 8601, UTC, with milliseconds. */
  readonly time: string;
  /** Null where it is about no machine. */
  readonly vmId: string | null;
  readonly vmName: string | null;
}

/** What happened on a host, as it is written down and followed. */
export type HostEvent = Happening &
  (
    | { readonly kind: 'state'; readonly state: VmState; readonly reason: string | null }
    | {
        readonly kind: 'disk-error';
        readonly driveId: string | null;
        readonly operation: 'read' | 'write';
        /** No space is left for the disk's file: the machine waits, and goes on when it is resumed. */
        readonly noSpace: boolean;
      }
    | { readonly kind: 'guest-panic' }
    | { readonly kind: 'guest-reset' }
    | { readonly kind: 'guest-agent'; readonly connected: boolean }
    | ({ readonly kind: 'operation'; readonly phase: 'begin' | 'end' } & OperationFacts)
  );

export type HostEventKind = HostEvent['kind'];

/** Who did what to what, and how it ended. */
export interface OperationFacts {
  readonly operationId: string;
  /** Service and method of the host contract: `vms.start`, `disks.resize`. */
  readonly operation: string;
  /** The disk file, snapshot or name that it was about, where it says more than the machine does. */
  readonly subject: string | null;
  readonly user: { readonly uid: number; readonly name: string | null; readonly behalfOf: string | null };
  readonly processId: number;
  /** Null until it ended. */
  readonly outcome: 'done' | 'failed' | 'aborted' | null;
  readonly errorCode: string | null;
  readonly durationMs: number | null;
}

/** One operation, its beginning and its end as one. */
export interface OperationInfo extends Omit<OperationFacts, 'outcome'> {
  /** ISO 8601, UTC. */
  readonly startTime: string;
  readonly vmId: string | null;
  readonly vmName: string | null;
  /** `interrupted`: its process is gone and never said how it ended. */
  readonly outcome: 'running' | 'done' | 'failed' | 'aborted' | 'interrupted';
}

export interface EventQuery {
  readonly vmId?: string | undefined;
  /** Only what happened at or after this moment. */
  readonly since?: Date | undefined;
  /** Only the last so many. */
  readonly last?: number | undefined;
}

/** Bytes and operations since the machine's start. */
export interface Traffic {
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly readOperations: number;
  readonly writeOperations: number;
}

/** What a running machine has used (Msvm_AggregationMetricValue, Msvm_BaseMetricValue). */
export interface VmMeasurement {
  readonly vmId: string;
  readonly vmName: string;
  /** ISO 8601, UTC. */
  readonly time: string;
  readonly uptimeSeconds: number;
  /** Processor time of all its threads on this host, in seconds. */
  readonly processorSeconds: number;
  /** Of that, its virtual processors', in their order. */
  readonly virtualProcessorSeconds: readonly number[];
  /** Host memory that its processes hold now. */
  readonly residentBytes: number;
  /** Memory that the guest has now; less than assigned at the start while its balloon is filled. */
  readonly assignedBytes: number;
  readonly disks: readonly ({ readonly driveId: string } & Traffic)[];
  /** As the guest's agent counts; empty where it does not. */
  readonly adapters: readonly {
    readonly macAddress: string;
    readonly receivedBytes: number;
    readonly sentBytes: number;
    readonly receivedPackets: number;
    readonly sentPackets: number;
  }[];
}
