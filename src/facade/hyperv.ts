import type { LongOptions } from '../async/index.ts';
import type { AttachedDisk, CreateVhdSetOptions } from '../disk/index.ts';
import type { HvError } from '../errors/index.ts';
import type { Host, HostCapabilities } from '../host/index.ts';
import type {
  CreateVmOptions,
  DoctorFinding,
  EventQuery,
  HostEvent,
  HostInfo,
  HostSettings,
  OperationInfo,
  SnapshotType,
  SwitchInfo,
  VmSummary,
} from '../model/index.ts';
import { Snapshot } from './snapshot.ts';
import { type CreateVhdFileOptions, Vhd } from './vhd.ts';
import { VhdSet } from './vhd-set.ts';
import { Vm } from './vm.ts';

/**
 * The main interface to a host's virtual machines, disks and switches. The front door (`import { HyperV } from 'hv'`)
 * opens it with the engine of this system: HyperV in compose.ts.
 *
 * @example
 * await using hv = await HyperV.open();
 * const vm = await hv.createVm({ name: 'MyVM', memoryBytes: 2 * 2 ** 30 });
 * await vm.start();
 * await hv.createSnapshot('MyVM', 'Before Update');
 * await vm.stop();
 */
export class HyperVFacade implements AsyncDisposable {
  /** The contract underneath, for callers that want the services themselves. */
  readonly host: Host;

  constructor(host: Host) {
    this.host = host;
  }

  capabilities(): Promise<HostCapabilities> {
    return this.host.capabilities();
  }

  /** Computer name, processors, memory, default paths. */
  hostInfo(): Promise<HostInfo> {
    return this.host.system.info();
  }

  /** Changes the default paths. @throws HvError `invalid-argument`, `permission-denied` */
  setHost(settings: HostSettings): Promise<HostInfo> {
    return this.host.system.set(settings);
  }

  /** What this host lacks, each with its fix. */
  async doctor(): Promise<DoctorFinding[]> {
    const { examineTemplateRequirements } = await import('../provision/index.ts');
    return [...(await this.host.system.doctor()), await examineTemplateRequirements()];
  }

  /** Every machine whose definition can be read; `unreadableVms` has the rest. */
  async listVms(): Promise<Vm[]> {
    return (await this.host.vms.list()).map((summary) => new Vm(this.host, summary.id, summary.name));
  }

  /** Why each machine that no list shows cannot be read: its damaged file, in the error's detail. */
  unreadableVms(): Promise<readonly HvError[]> {
    return this.host.vms.unreadable();
  }

  /** One row a machine, cheaper than asking each. */
  listVmSummaries(): Promise<VmSummary[]> {
    return this.host.vms.list();
  }

  /** By name (case does not matter) or id. @throws HvError `not-found`, `ambiguous-name` */
  async getVm(nameOrId: string): Promise<Vm> {
    const { id, name } = await this.host.vms.resolve(nameOrId);
    return new Vm(this.host, id, name);
  }

  /**
   * Defines a machine: without a disk, with an existing one (`diskPath`), or with a new one (`newDiskSizeBytes`).
   * @throws HvError `invalid-argument`, `already-exists`, `in-use`, `not-found`, `corrupt`, `no-space`
   */
  async createVm(options: CreateVmOptions, long?: LongOptions): Promise<Vm> {
    const { id } = await this.host.vms.create(options, long);
    return this.getVm(id);
  }

  /** Forgets the machine; its disks stay unless `withDisks`. @throws HvError `not-found`, `invalid-state` */
  async deleteVm(nameOrId: string, options: LongOptions & { readonly withDisks?: boolean } = {}): Promise<void> {
    const { id } = await this.host.vms.resolve(nameOrId);
    await this.host.vms.delete(id, options);
  }

  listSwitches(): Promise<SwitchInfo[]> {
    return this.host.switches.list();
  }

  /** A virtual hard disk file, once its head has been read. @throws HvError `not-found`, `corrupt`, `unsupported` */
  async getVhd(path: string): Promise<Vhd> {
    const info = await this.host.disks.info(path);
    return new Vhd(this.host, info.path);
  }

  /** Every disk that this host shows since it was mounted. */
  attachedVhds(): Promise<readonly AttachedDisk[]> {
    return this.host.disks.attached();
  }

  /** @throws HvError `already-exists`, `invalid-argument`, `no-space` */
  async createVhd(path: string, options: CreateVhdFileOptions & LongOptions): Promise<Vhd> {
    const info = await this.host.disks.create(path, options);
    return new Vhd(this.host, info.path);
  }

  /** A disk that holds only what differs from its parent. @throws HvError as `createVhd` */
  createDifferencingVhd(path: string, parentPath: string, long: LongOptions = {}): Promise<Vhd> {
    return this.createVhd(path, { type: 'differencing', parentPath, ...long });
  }

  /** A VHD Set, once its container has been read. @throws HvError `not-found`, `corrupt`, `unsupported` */
  async getVhdSet(path: string): Promise<VhdSet> {
    const info = await this.host.disks.setInfo(path);
    return new VhdSet(this.host, info.path);
  }

  /** A VHD Set over a new disk, or over one that exists. @throws HvError `already-exists`, `invalid-argument`, `no-space` */
  async createVhdSet(path: string, options: CreateVhdSetOptions): Promise<VhdSet> {
    const info = await this.host.disks.createSet(path, options);
    return new VhdSet(this.host, info.path);
  }

  /** Oldest first. */
  async listSnapshots(vmNameOrId: string): Promise<Snapshot[]> {
    const { id } = await this.host.vms.resolve(vmNameOrId);
    return (await this.host.snapshots.list(id)).map((info) => new Snapshot(this.host, info));
  }

  /** @throws HvError `not-found`, `ambiguous-name` */
  async getSnapshot(vmNameOrId: string, nameOrId: string): Promise<Snapshot> {
    const { id } = await this.host.vms.resolve(vmNameOrId);
    return new Snapshot(this.host, await this.host.snapshots.resolve(id, nameOrId));
  }

  /** Keeps disks, settings and, unless the machine is off, memory. @throws HvError `not-found`, `invalid-state`, `unsupported` */
  async createSnapshot(
    vmNameOrId: string,
    name: string,
    type: SnapshotType = 'Standard',
    long: LongOptions = {},
  ): Promise<Snapshot> {
    const { id } = await this.host.vms.resolve(vmNameOrId);
    return new Snapshot(this.host, await this.host.snapshots.create(id, name, { type, ...long }));
  }

  /** What happened on this host, oldest first: states of machines, disk errors, panics of guests, and what commands did. */
  listEvents(query?: EventQuery): Promise<HostEvent[]> {
    return this.host.events.list(query);
  }

  /**
   * What happens from now on, from every machine and every process, until the signal fires.
   * @example
   * for await (const event of hv.followEvents({ signal: AbortSignal.timeout(60_000) })) console.log(event.kind);
   */
  followEvents(
    options: { readonly signal: AbortSignal } & Pick<EventQuery, 'vmId' | 'since'>,
  ): AsyncIterable<HostEvent> {
    return this.host.events.follow(options);
  }

  /** Who changed what on this host, when, and how it ended; oldest first. */
  listOperations(query?: EventQuery): Promise<OperationInfo[]> {
    return this.host.events.operations(query);
  }

  /** Lets go of this process's hold; machines run on. */
  close(): Promise<void> {
    return this.host.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
