import type { LongOptions } from '../async/index.ts';
import type { HvError } from '../errors/index.ts';
import type { CreateVmOptions, VmInfo, VmSettings, VmSummary, WaitCondition } from '../model/index.ts';

import type { DryRun } from './storage.ts';

/** Virtual machines. Machines are named by id here; `resolve` turns what a person typed into one. */
export interface VmService {
  /**
   * Every machine that can be read, by name.
   * Windows: Msvm_VirtualSystemManagementService.GetSummaryInformation over Msvm_ComputerSystem.
   */
  list(): Promise<VmSummary[]>;

  /** Why each of the others cannot: one error a machine. Windows: Msvm_ComputerSystem with a critical HealthState. */
  unreadable(): Promise<readonly HvError[]>;

  /**
   * The machine with this name (case does not matter) or id. Windows: Msvm_ComputerSystem.ElementName or Name.
   * @throws HvError `not-found`; `ambiguous-name` with the ids in its detail
   */
  resolve(nameOrId: string): Promise<{ readonly id: string; readonly name: string }>;

  /** Windows: Msvm_VirtualSystemSettingData and its resources, Msvm_SummaryInformation. @throws `not-found` */
  info(vmId: string): Promise<VmInfo>;

  /**
   * Defines a machine; what was half made is rolled back. Windows: Msvm_VirtualSystemManagementService.DefineSystem, then
   * AddResourceSettings for drives and adapters.
   * @throws `invalid-argument`, `already-exists`, `in-use` (a disk), `not-found`, `corrupt`, `no-space`, `permission-denied`
   */
  create(options: CreateVmOptions, long?: LongOptions): Promise<{ readonly id: string }>;

  /** Everything that `create` would check, without making anything. @throws as `create` */
  checkCreate(options: CreateVmOptions): Promise<void>;

  /**
   * From Off, Saved or Paused to Running; Running is a no-op. Windows: Msvm_ComputerSystem.RequestStateChange(2).
   * An abort before the guest runs leaves the machine as it was.
   * @throws `invalid-state`, `missing-dependency`, `in-use`, `corrupt`, `process-failed`
   */
  start(vmId: string, long?: LongOptions): Promise<void>;

  /**
   * Asks the guest to shut down and waits. Windows: Msvm_ShutdownComponent.InitiateShutdown.
   * An abort stops the waiting, not the guest's shutdown. With `guestAgent`, a guest that does not hear the power button
   * is asked through its agent too.
   * @throws `invalid-state`; `timeout` when the guest still runs after `timeoutMs`, saying so
   */
  stop(vmId: string, options?: LongOptions & StopOptions): Promise<void>;

  /** Switches the machine off at once; a saved state is thrown away. Windows: RequestStateChange(3). */
  forceStop(vmId: string): Promise<void>;

  /** Windows: RequestStateChange(9). @throws `invalid-state` */
  pause(vmId: string): Promise<void>;

  /** From Paused (or Saved) to Running. Windows: RequestStateChange(2). @throws `invalid-state` */
  resume(vmId: string, long?: LongOptions): Promise<void>;

  /** Keeps memory in a file and switches off. Windows: RequestStateChange(6). An abort lets the guest run on. */
  save(vmId: string, long?: LongOptions): Promise<void>;

  /** A hard reset. Windows: RequestStateChange(11). @throws `invalid-state` */
  reset(vmId: string): Promise<void>;

  /**
   * Forgets the machine. Its disks stay, with the present state in them: snapshot layers are merged first.
   * `withDisks` deletes its own disk files too, never their parents. Windows: DestroySystem.
   * @throws `invalid-state`
   */
  delete(
    vmId: string,
    options?: LongOptions & { readonly withDisks?: boolean },
  ): Promise<{ readonly deletedPaths: string[] }>;

  /** The files that `delete` with `withDisks` would delete. */
  diskPaths(vmId: string): Promise<string[]>;

  /** Windows: ModifySystemSettings, ElementName. @throws `invalid-argument`, `already-exists` */
  rename(vmId: string, name: string): Promise<void>;

  /**
   * Changes settings, all that are given or none. Boot order counts from the next start or reset. Windows:
   * ModifySystemSettings, and ModifyResourceSettings for Msvm_ProcessorSettingData and Msvm_MemorySettingData.
   * @throws `invalid-argument`; `invalid-state` where one of them needs the machine to be off; `no-space` (more memory than the host has)
   */
  set(vmId: string, settings: VmSettings, options?: DryRun): Promise<VmInfo>;

  /** What the machine's serial port and its engine wrote, last part first to be cut. */
  logs(vmId: string, options?: { readonly maxBytes?: number }): Promise<VmLogs>;

  /** Where the machine's first serial port can be talked to. Windows: Msvm_SerialPort's named pipe. @throws `invalid-state` */
  console(vmId: string): Promise<ConsoleEndpoint>;

  /** The screen as a PNG file's bytes. Windows: GetVirtualSystemThumbnailImage. @throws `invalid-state` */
  screenshot(vmId: string): Promise<Uint8Array>;

  /**
   * Waits until the condition holds; false when `timeoutMs` passed first, or when it cannot become true any more
   * (waiting for an IP address of a machine that went off).
   * @throws `unsupported` for `ssh` where this host has no way to the guest: every adapter behind NAT, or unconnected
   */
  waitFor(
    vmId: string,
    condition: WaitCondition,
    options?: LongOptions & { readonly timeoutMs?: number },
  ): Promise<boolean>;
}

export interface StopOptions {
  readonly timeoutMs?: number;
  readonly guestAgent?: boolean;
}

export interface VmLogs {
  readonly serial: string;
  readonly engine: string;
  readonly worker: string;
}

export interface ConsoleEndpoint {
  /** A Unix socket (a named pipe on Windows) that carries the bytes of the serial port, one client at a time. */
  readonly path: string;
}
