import type { DiskService } from './disks.ts';
import type { EventService } from './events.ts';
import type { GuestService } from './guest.ts';
import type { KeyboardService } from './keyboard.ts';
import type { SnapshotService } from './snapshots.ts';
import type { StorageService } from './storage.ts';
import type { SwitchService } from './switches.ts';
import type { SystemService } from './system.ts';
import type { VmService } from './vms.ts';

/** What an engine says about itself before anyone tries; what is absent fails with `unsupported`. */
export interface HostCapabilities {
  readonly engine: 'qemu' | 'hyperv';
  /** Machines really execute a guest's instructions here. */
  readonly guestExecution: boolean;
  readonly acceleration: 'kvm' | 'tcg' | 'hyperv';
  readonly generations: readonly (1 | 2)[];
  readonly snapshotTypes: readonly ('Standard' | 'Production' | 'ProductionOnly')[];
  readonly saveState: boolean;
  readonly guestAgent: boolean;
}

/** The contract that every engine keeps: the sum of its services. */
export interface Host extends AsyncDisposable {
  readonly system: SystemService;
  readonly vms: VmService;
  readonly snapshots: SnapshotService;
  readonly storage: StorageService;
  readonly disks: DiskService;
  readonly switches: SwitchService;
  readonly guest: GuestService;
  readonly keyboard: KeyboardService;
  readonly events: EventService;
  capabilities(): Promise<HostCapabilities>;
  /** Lets go of what this process holds; machines run on. */
  close(): Promise<void>;
}
