import { randomUUID } from 'node:crypto';
import { type AttachedDisk, type DiskUser, FileDisks } from '../../src/disk/index.ts';
import { HvError } from '../../src/errors/index.ts';
import type { Host, VmLogs, VmService } from '../../src/host/index.ts';
import {
  type CreateVmOptions,
  DEFAULT_SETTINGS,
  type DoctorFinding,
  type GuestExecResult,
  type GuestInfo,
  type HostEvent,
  type HostInfo,
  judgeMove,
  nameKey,
  type OperationInfo,
  type SnapshotInfo,
  type VmAction,
  type VmInfo,
  type VmMeasurement,
  type VmState,
  validCreateOptions,
  validName,
  withSettings,
} from '../../src/model/index.ts';
import { DoubleStorage } from './storage-double.ts';

/** A host that keeps machines in memory, for tests of what the command line does with one. It runs no guest. */
export class HostDouble {
  readonly machines = new Map<string, VmInfo>();
  readonly snapshots = new Map<string, SnapshotInfo[]>();
  readonly diskUsers = new Map<string, string[]>();
  findings: DoctorFinding[] = [];
  /** Disks that the host shows as devices or files. */
  mounts: AttachedDisk[] = [];
  /** Why machines that no list shows cannot be read. */
  unreadable: HvError[] = [];
  logs: VmLogs = { serial: '', engine: '', worker: '' };
  waitAnswer = true;
  events: HostEvent[] = [];
  operations: OperationInfo[] = [];
  /** What each look at what a machine used says, in their order. */
  measurements: VmMeasurement[] = [];
  consolePath = '/nowhere';
  execAnswer: GuestExecResult = {
    exitCode: 0,
    signal: null,
    stdout: Buffer.alloc(0),
    stderr: Buffer.alloc(0),
    truncated: false,
  };
  /** Key-value pairs that the host has set. */
  readonly pairs = new Map<string, string>();
  /** Every call that would change something. */
  readonly changes: string[] = [];
  closed = 0;

  add(fields: Partial<VmInfo> & { readonly name: string }): VmInfo {
    const { allowedParents: _internal, ...settings } = DEFAULT_SETTINGS;
    const info: VmInfo = {
      ...settings,
      id: randomUUID(),
      state: 'Off',
      generation: 2,
      processorCount: 2,
      memoryBytes: 2 ** 31,
      uptimeSeconds: 0,
      guest: 'linux',
      creationTime: '2025-01-02T03:04:05.000Z',
      stateReason: null,
      hardDiskDrives: [],
      networkAdapters: [],
      heartbeat: null,
      snapshotCount: 0,
      currentSnapshotId: null,
      configurationPath: '/somewhere/vm.json',
      machineVersion: null,
      processes: null,
      vncSocketPath: null,
      acceleration: null,
      ...fields,
    };
    this.machines.set(info.id, info);
    return info;
  }

  #get(id: string): VmInfo {
    const info = this.machines.get(id);
    if (!info) throw new HvError('not-found', `there is no machine ${id}`);
    return info;
  }

  #move(id: string, action: VmAction, to: VmState): void {
    const info = this.#get(id);
    if (judgeMove(action, info.state, info) === 'done') return;
    this.changes.push(`${action} ${info.name}`);
    this.machines.set(id, { ...info, state: to });
  }

  #check(options: CreateVmOptions): ReturnType<typeof validCreateOptions> {
    const valid = validCreateOptions(options);
    for (const { name } of this.machines.values()) {
      if (nameKey(name) === nameKey(valid.name))
        throw new HvError('already-exists', `there is a machine named ${name}`);
    }
    return valid;
  }

  get host(): Host {
    const vms: VmService = {
      unreadable: async () => this.unreadable,
      list: async () => [...this.machines.values()],
      resolve: async (nameOrId) => {
        const byId = this.machines.get(nameOrId);
        if (byId) return byId;
        const found = [...this.machines.values()].filter(({ name }) => nameKey(name) === nameKey(nameOrId));
        const [only] = found;
        if (!only) throw new HvError('not-found', `there is no machine named ${JSON.stringify(nameOrId)}`);
        if (found.length > 1) {
          throw new HvError('ambiguous-name', `${found.length} machines are named ${JSON.stringify(nameOrId)}`, {
            detail: { ids: found.map(({ id }) => id) },
          });
        }
        return only;
      },
      info: async (id) => this.#get(id),
      create: async (options) => {
        const { name, memoryBytes, processorCount, generation, guest } = this.#check(options);
        this.changes.push(`create ${name}`);
        return this.add({ name, memoryBytes, processorCount, generation, guest });
      },
      checkCreate: async (options) => void this.#check(options),
      start: async (id) => this.#move(id, 'start', 'Running'),
      stop: async (id, options) => {
        if (options?.timeoutMs === 0)
          throw new HvError('timeout', 'the guest did not shut down', { hint: 'Use hv vm force-stop.' });
        this.#move(id, 'stop', 'Off');
      },
      forceStop: async (id) => this.#move(id, 'forceStop', 'Off'),
      pause: async (id) => this.#move(id, 'pause', 'Paused'),
      resume: async (id) => this.#move(id, 'resume', 'Running'),
      save: async (id) => this.#move(id, 'save', 'Saved'),
      reset: async (id) => this.#move(id, 'reset', 'Running'),
      delete: async (id, options) => {
        const info = this.#get(id);
        judgeMove('delete', info.state, info);
        this.changes.push(`delete ${info.name}`);
        this.machines.delete(id);
        return { deletedPaths: options?.withDisks ? info.hardDiskDrives.map(({ path }) => path) : [] };
      },
      diskPaths: async (id) => this.#get(id).hardDiskDrives.map(({ path }) => path),
      rename: async (id, name) => {
        this.changes.push(`rename ${name}`);
        this.machines.set(id, { ...this.#get(id), name: validName(name) });
      },
      set: async (id, settings, options) => {
        const info = this.#get(id);
        const { processorCount, memoryBytes, notes, groups, checkpoints, firmware } = withSettings(
          { ...info, allowedParents: [] },
          settings,
          info.state,
        );
        const changed = { ...info, processorCount, memoryBytes, notes, groups, checkpoints, firmware };
        if (options?.dryRun === true) return changed;
        this.changes.push(`set ${info.name}`);
        this.machines.set(id, changed);
        return changed;
      },
      logs: async () => this.logs,
      console: async () => ({ path: this.consolePath }),
      screenshot: async () => new Uint8Array([0x89, 0x50, 0x4e, 0x47]),
      waitFor: async () => this.waitAnswer,
    };
    const close = async (): Promise<void> => {
      this.closed += 1;
    };
    return {
      vms,
      system: {
        info: async () => HOST,
        set: async (settings) => {
          this.changes.push('set host');
          return { ...HOST, ...settings };
        },
        doctor: async () => this.findings,
      },
      storage: new DoubleStorage(
        (id) => this.#get(id),
        (info, change) => {
          this.changes.push(change);
          this.machines.set(info.id, info);
        },
      ),
      snapshots: {
        list: async (id) => this.snapshots.get(id) ?? [],
        resolve: async (id, nameOrId) => {
          const found = this.snapshots
            .get(id)
            ?.find((snapshot) => snapshot.id === nameOrId || snapshot.name === nameOrId);
          if (!found) throw new HvError('not-found', `there is no snapshot named ${JSON.stringify(nameOrId)}`);
          return found;
        },
        create: async (id, name, options) => {
          this.changes.push(`snapshot ${name}`);
          const vm = this.#get(id);
          const made = snapshotOf(vm, { name, type: options?.type ?? 'Standard' });
          this.snapshots.set(id, [...(this.snapshots.get(id) ?? []), made]);
          return made;
        },
        apply: async (_id, snapshotId) => void this.changes.push(`apply ${snapshotId}`),
        delete: async (_id, snapshotId) => void this.changes.push(`delete snapshot ${snapshotId}`),
      },
      disks: new DoubleDisks(
        (path) => (this.diskUsers.get(path) ?? []).map((id) => diskUserOf(this.#get(id), path)),
        () => this.mounts,
      ),
      switches: { list: async () => [] },
      guest: {
        heartbeat: async () => true,
        ipAddresses: async () => [{ macAddress: '00:15:5d:00:00:01', addresses: ['10.0.2.15'] }],
        info: async () => GUEST,
        exec: async (id, program, args, options = {}) => {
          let input = '';
          if (options.input instanceof Uint8Array) input = Buffer.from(options.input).toString();
          else if (options.input) for await (const piece of options.input) input += Buffer.from(piece).toString();
          this.changes.push(`exec ${JSON.stringify({ ...options, program, args, input, signal: undefined })}`);
          if (this.#get(id).state !== 'Running') throw new HvError('invalid-state', 'it does not run');
          return this.execAnswer;
        },
        copyTo: async (_id, sourcePath, path, { force = false } = {}) => {
          this.changes.push(`copy ${sourcePath} to ${path}${force ? ' by force' : ''}`);
          return { path, sizeBytes: 3, sha256: 'ab'.repeat(32), verifiedBy: 'hash' };
        },
        copyFrom: async (_id, sourcePath, path) => {
          this.changes.push(`copy ${sourcePath} from guest to ${path}`);
          return { path, sizeBytes: 3, sha256: 'ab'.repeat(32), verifiedBy: 'hash' };
        },
        setTime: async () => ({ offsetMs: -2500 }),
        keyValuePairs: async () => [
          ...[...this.pairs].map(([key, value]) => ({ source: 'host' as const, key, value })),
          { source: 'guest', key: 'said', value: 'yes' },
        ],
        setKeyValuePair: async (_id, key, value) => void this.pairs.set(key, value),
        deleteKeyValuePair: async (_id, key) => {
          if (!this.pairs.delete(key)) throw new HvError('not-found', `no key ${key}`);
        },
      },
      keyboard: {
        type: async (_id, text) => void this.changes.push(`type ${JSON.stringify(text)}`),
        press: async (_id, keys) => void this.changes.push(`press ${keys}`),
      },
      events: {
        list: async () => this.events,
        follow: async function* (this: void) {},
        operations: async () => this.operations,
        measure: async (id) => {
          const measurement = this.measurements.shift();
          if (!measurement) throw new HvError('invalid-state', `nothing runs as ${id}`);
          return measurement;
        },
      },
      capabilities: async () => ({
        engine: 'qemu',
        guestExecution: false,
        acceleration: 'tcg',
        generations: [1, 2],
        snapshotTypes: ['Standard'],
        saveState: true,
        guestAgent: true,
      }),
      close,
      [Symbol.asyncDispose]: close,
    };
  }
}

const GUEST: GuestInfo = {
  agentVersion: '7.2.0',
  capabilities: { exec: true, fileTransfer: true, setTime: true, freezeFileSystems: false, shutdown: true },
  hostName: 'guest',
  operatingSystem: { id: 'debian', name: 'Debian 12', version: '12', kernelRelease: '6.1.0', machine: 'x86_64' },
  time: '2025-01-02T03:04:05.000Z',
  timeZone: { name: 'CET', offsetSeconds: 3600 },
  users: [],
  fileSystems: [{ device: 'sda2', mountPoint: '/data', type: 'ext4', usedBytes: 2 ** 20, totalBytes: 2 ** 26 }],
};

export const HOST: HostInfo = {
  computerName: 'test-host',
  engine: 'qemu',
  engineVersion: '7.2.0',
  operatingSystem: 'Debian 12',
  logicalProcessorCount: 2,
  memoryCapacityBytes: 8 * 2 ** 30,
  memoryAvailableBytes: 4 * 2 ** 30,
  acceleration: 'tcg',
  vmPath: '/vms',
  vhdPath: '/disks',
};

export function snapshotOf(
  vm: { readonly id: string; readonly name: string },
  fields: Partial<SnapshotInfo>,
): SnapshotInfo {
  return {
    id: randomUUID(),
    name: 'first',
    vmId: vm.id,
    vmName: vm.name,
    type: 'Standard',
    creationTime: '2025-01-02T03:04:05.000Z',
    parentId: null,
    parentName: null,
    vmState: 'Off',
    isCurrent: false,
    ...fields,
  };
}

/** Real disk files, with machines of the double standing on them. */
class DoubleDisks extends FileDisks {
  readonly #mounts: () => AttachedDisk[];
  readonly #usersOf: (path: string) => DiskUser[];

  constructor(usersOf: (path: string) => DiskUser[], mounts: () => AttachedDisk[]) {
    super();
    this.#usersOf = usersOf;
    this.#mounts = mounts;
  }

  override async attached(): Promise<AttachedDisk[]> {
    return this.#mounts();
  }

  override async users(path: string): Promise<DiskUser[]> {
    return this.#usersOf(path);
  }
}

function diskUserOf({ id, name, state, snapshotCount, hardDiskDrives }: VmInfo, path: string): DiskUser {
  if (!hardDiskDrives.some((drive) => drive.path === path))
    return { id, name, as: 'parent', conflict: 'whose disk builds on it' };
  const isFree = state === 'Off' && snapshotCount === 0;
  return { id, name, as: 'drive', conflict: isFree ? null : `which is ${state}, with ${snapshotCount} snapshots` };
}
