import type { LongOptions } from '../async/index.ts';
import type {
  AddDvdDriveOptions,
  AddHardDiskDriveOptions,
  ConsoleEndpoint,
  DryRun,
  DvdDriveInfo,
  HardDiskDriveInfo,
  Host,
  RemoveHardDiskDriveOptions,
  SetHardDiskDriveOptions,
  StopOptions,
  VmLogs,
} from '../host/index.ts';
import type {
  BootDevice,
  DriveAddress,
  SnapshotType,
  VmInfo,
  VmMeasurement,
  VmSettings,
  VmState,
  WaitCondition,
} from '../model/index.ts';
import { Guest } from './guest.ts';
import { Snapshot } from './snapshot.ts';

/** One virtual machine. `id` and `name` are as they were when this object was made; what can change is asked for. */
export class Vm {
  readonly id: string;
  readonly name: string;
  /** What runs inside it. */
  readonly guest: Guest;
  readonly #host: Host;

  constructor(host: Host, id: string, name: string) {
    this.#host = host;
    this.id = id;
    this.name = name;
    this.guest = new Guest(host, id);
  }

  /** Everything that is known about the machine now. @throws HvError `not-found` */
  info(): Promise<VmInfo> {
    return this.#host.vms.info(this.id);
  }

  async state(): Promise<VmState> {
    return (await this.info()).state;
  }

  async cpuCount(): Promise<number> {
    return (await this.info()).processorCount;
  }

  async memoryBytes(): Promise<number> {
    return (await this.info()).memoryBytes;
  }

  async uptimeSeconds(): Promise<number> {
    return (await this.info()).uptimeSeconds;
  }

  /** From Off, Saved or Paused; already running is a no-op. @throws HvError `invalid-state`, `missing-dependency`, `in-use` */
  start(long?: LongOptions): Promise<void> {
    return this.#host.vms.start(this.id, long);
  }

  /** Asks the guest to shut down and waits. @throws HvError `timeout` when it does not, `invalid-state` */
  stop(options?: LongOptions & StopOptions): Promise<void> {
    return this.#host.vms.stop(this.id, options);
  }

  /** Cuts the power. */
  forceStop(): Promise<void> {
    return this.#host.vms.forceStop(this.id);
  }

  pause(): Promise<void> {
    return this.#host.vms.pause(this.id);
  }

  resume(long?: LongOptions): Promise<void> {
    return this.#host.vms.resume(this.id, long);
  }

  /** Keeps memory in a file and switches off; `start` goes on where it was. */
  save(long?: LongOptions): Promise<void> {
    return this.#host.vms.save(this.id, long);
  }

  reset(): Promise<void> {
    return this.#host.vms.reset(this.id);
  }

  rename(name: string): Promise<void> {
    return this.#host.vms.rename(this.id, name);
  }

  /**
   * Changes settings, all that are given or none.
   * @throws HvError `invalid-argument`; `invalid-state` where one needs the machine to be off
   * @example
   * await vm.set({ processorCount: 4, memoryBytes: 4 * 2 ** 30, notes: 'the web server' });
   */
  set(settings: VmSettings, options?: DryRun): Promise<VmInfo> {
    return this.#host.vms.set(this.id, settings, options);
  }

  /** Drives in the order in which the firmware tries them, from the next start or reset on; the others come after. */
  async setBootOrder(order: readonly BootDevice[]): Promise<void> {
    await this.set({ bootOrder: order });
  }

  /** Forgets the machine; its disks stay unless `withDisks`. */
  delete(options?: LongOptions & { readonly withDisks?: boolean }): Promise<{ readonly deletedPaths: string[] }> {
    return this.#host.vms.delete(this.id, options);
  }

  logs(options?: { readonly maxBytes?: number }): Promise<VmLogs> {
    return this.#host.vms.logs(this.id, options);
  }

  /** Where the first serial port can be talked to. */
  console(): Promise<ConsoleEndpoint> {
    return this.#host.vms.console(this.id);
  }

  /** The screen, as a PNG file's bytes. */
  screenshot(): Promise<Uint8Array> {
    return this.#host.vms.screenshot(this.id);
  }

  /** Types a text on the machine's keyboard; `\n` is Enter. @throws HvError `invalid-argument` for a character that a US keyboard has not */
  type(text: string, options?: Pick<LongOptions, 'signal'>): Promise<void> {
    return this.#host.keyboard.type(this.id, text, options);
  }

  /** Presses keys together: `ctrl+alt+del`. @throws HvError `invalid-argument` */
  key(keys: string): Promise<void> {
    return this.#host.keyboard.press(this.id, keys);
  }

  /** True once the condition holds; false when `timeoutMs` passed first. */
  waitFor(condition: WaitCondition, options?: LongOptions & { readonly timeoutMs?: number }): Promise<boolean> {
    return this.#host.vms.waitFor(this.id, condition, options);
  }

  /** What it has used since its start: processor time, memory, disks, network. @throws HvError `invalid-state` */
  measure(): Promise<VmMeasurement> {
    return this.#host.events.measure(this.id);
  }

  /** The guest's addresses, as it reports them; empty until it does. */
  async ipAddresses(): Promise<string[]> {
    const adapters = await this.#host.guest.ipAddresses(this.id);
    return adapters.flatMap((adapter) => [...adapter.addresses]);
  }

  async createSnapshot(name: string, type: SnapshotType = 'Standard', long: LongOptions = {}): Promise<Snapshot> {
    return new Snapshot(this.#host, await this.#host.snapshots.create(this.id, name, { type, ...long }));
  }

  /** The hard disk drives, by address. */
  getHardDiskDrives(): Promise<HardDiskDriveInfo[]> {
    return this.#host.storage.hardDiskDrives(this.id);
  }

  /**
   * Attaches a disk, at the address given or the first free one; on SCSI also while the machine runs.
   * @throws HvError `in-use`, `already-exists`, `invalid-argument`, `invalid-state`, `unsupported`, `not-found`, `corrupt`
   * @example await vm.addHardDiskDrive({ newSizeBytes: 100 * 2 ** 30 });
   */
  addHardDiskDrive(options: AddHardDiskDriveOptions, long?: LongOptions): Promise<HardDiskDriveInfo> {
    return this.#host.storage.addHardDiskDrive(this.id, options, long);
  }

  /** Detaches a disk, whose file stays. @throws HvError `not-found`, `invalid-state`, `in-use`, `timeout` */
  removeHardDiskDrive(
    address: DriveAddress,
    options?: RemoveHardDiskDriveOptions,
    long?: LongOptions,
  ): Promise<HardDiskDriveInfo> {
    return this.#host.storage.removeHardDiskDrive(this.id, address, options, long);
  }

  /** Another disk (while the machine is off), or other bounds (also while it runs). @throws HvError as `addHardDiskDrive` */
  setHardDiskDrive(
    address: DriveAddress,
    options: SetHardDiskDriveOptions,
    long?: LongOptions,
  ): Promise<HardDiskDriveInfo> {
    return this.#host.storage.setHardDiskDrive(this.id, address, options, long);
  }

  /** The DVD drives, by address. */
  getDvdDrives(): Promise<DvdDriveInfo[]> {
    return this.#host.storage.dvdDrives(this.id);
  }

  /** @throws HvError as `addHardDiskDrive` */
  addDvdDrive(options?: AddDvdDriveOptions, long?: LongOptions): Promise<DvdDriveInfo> {
    return this.#host.storage.addDvdDrive(this.id, options, long);
  }

  /** @throws HvError `not-found`, `invalid-state`, `timeout` */
  removeDvdDrive(address: DriveAddress, options?: DryRun, long?: LongOptions): Promise<DvdDriveInfo> {
    return this.#host.storage.removeDvdDrive(this.id, address, options, long);
  }

  /** Puts an image into a DVD drive, by default the first, also while the machine runs. @throws HvError `not-found`, `invalid-argument`, `invalid-state` */
  mountIso(
    isoPath: string,
    options?: DryRun & { readonly address?: DriveAddress },
    long?: LongOptions,
  ): Promise<DvdDriveInfo> {
    return this.#host.storage.mountIso(this.id, isoPath, options, long);
  }

  ejectIso(options?: DryRun & { readonly address?: DriveAddress }, long?: LongOptions): Promise<DvdDriveInfo> {
    return this.#host.storage.ejectIso(this.id, options, long);
  }

  /** Of at most four; the new count. @throws HvError `invalid-state` */
  addScsiController(options?: DryRun): Promise<number> {
    return this.#host.storage.addScsiController(this.id, options);
  }

  /** Takes the last SCSI controller away, which must have no drives; the new count. @throws HvError `invalid-state` */
  removeScsiController(options?: DryRun): Promise<number> {
    return this.#host.storage.removeScsiController(this.id, options);
  }

  async listSnapshots(): Promise<Snapshot[]> {
    return (await this.#host.snapshots.list(this.id)).map((info) => new Snapshot(this.#host, info));
  }
}
