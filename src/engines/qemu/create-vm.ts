import { randomBytes, randomUUID } from 'node:crypto';
import { realpath, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type LongOptions, Undo } from '../../async/index.ts';
import { createVhd } from '../../disk/index.ts';
import { HvError } from '../../errors/index.ts';
import {
  type CreateVmOptions,
  DEFAULT_SETTINGS,
  DEFAULT_SWITCH,
  NO_QOS,
  nameKey,
  validCreateOptions,
} from '../../model/index.ts';
import { ensureFolder, ensureFolders, SCHEMA_VERSION, shortId, type VmDefinition, vmPaths } from '../../state/index.ts';
import { isRoot } from '../../system/index.ts';
import type { EngineContext } from './context.ts';
import { makeDataFolder, removeDataFolder } from './data-folder.ts';
import { canonicalPath, type QemuDiskService } from './disks.ts';
import { ensureDiskFolder, type PlannedDisk, planExistingDisk, planNewDisk } from './plan-disk.ts';

/** A plan that passed every check; nothing has been made. */
interface Plan {
  readonly options: ReturnType<typeof validCreateOptions>;
  readonly disk: PlannedDisk | null;
  readonly allowedParents: readonly string[];
}

/** Says everything that is wrong with a machine that somebody wants, before anything is made. */
export async function planVm(context: EngineContext, disks: QemuDiskService, given: CreateVmOptions): Promise<Plan> {
  const options = validCreateOptions(given);
  await requireFreeName(context, options.name);
  if (
    options.switchName !== undefined &&
    options.switchName !== null &&
    nameKey(options.switchName) !== nameKey(DEFAULT_SWITCH)
  ) {
    throw new HvError('not-found', `there is no virtual switch named ${JSON.stringify(options.switchName)}`, {
      detail: { switch: options.switchName },
      hint: `The switch of this host is "${DEFAULT_SWITCH}".`,
    });
  }
  const allowedParents = await Promise.all((options.allowedParents ?? []).map(canonicalPath));
  return { options, disk: await planDisk(context, disks, options, allowedParents), allowedParents };
}

async function planDisk(
  context: EngineContext,
  disks: QemuDiskService,
  { diskPath, newDiskSizeBytes }: Plan['options'],
  allowedParents: readonly string[],
): Promise<PlannedDisk | null> {
  if (newDiskSizeBytes !== undefined) return planNewDisk(context, diskPath, newDiskSizeBytes);
  return diskPath === undefined ? null : planExistingDisk(disks, diskPath, allowedParents);
}

/** Defines a machine. What was made on the way is undone when anything fails. */
export async function createVm(
  context: EngineContext,
  disks: QemuDiskService,
  given: CreateVmOptions,
  long: LongOptions = {},
): Promise<{ readonly id: string }> {
  validCreateOptions(given); // before any folder is made
  await ensureFolders(context.paths);
  await using _names = await context.store.lockNames({ signal: long.signal });
  const { options, disk, allowedParents } = await planVm(context, disks, given);
  const existing = await context.store.list();
  const id = freshId(existing);
  const paths = vmPaths(context.paths, id);
  const dataPath = join((await context.settings()).vmPath, id, 'data');
  const newDisk = disk !== null && disk.newSizeBytes !== null ? { path: disk.path, virtualDiskId: randomUUID() } : null;
  await using operation = await context.operations.begin({ kind: 'create-vm', vmId: id, dataPath, newDisk });
  await using undo = new Undo();
  undo.defer(() => operation.finish());
  let diskPath = disk?.path;
  if (newDisk && options.newDiskSizeBytes !== undefined) {
    if (options.diskPath === undefined) await ensureDiskFolder(context);
    const { path, virtualDiskId } = newDisk;
    const made = { type: 'dynamic', sizeBytes: options.newDiskSizeBytes, virtualDiskId } as const;
    diskPath = (await createVhd(path, { ...made, ...long })).path;
    undo.defer(() => rm(path, { force: true }));
  }
  undo.defer(() => context.store.remove(id));
  await ensureFolder(paths.folder);
  const driveId = randomUUID();
  const planned: VmDefinition = {
    schemaVersion: SCHEMA_VERSION,
    id,
    creationTime: new Date().toISOString(),
    user: isRoot() ? freshUser(existing) : null,
    dataPath,
    machineType: null,
    nvramFile: null,
    tpmFile: null,
    specification: {
      ...DEFAULT_SETTINGS,
      name: options.name,
      generation: options.generation,
      guest: options.guest,
      processorCount: options.processorCount,
      memoryBytes: options.memoryBytes,
      hardDiskDrives:
        diskPath === undefined
          ? []
          : [
              {
                id: driveId,
                controllerType: options.generation === 1 ? 'IDE' : 'SCSI',
                controllerNumber: 0,
                controllerLocation: 0,
                path: diskPath,
                isPhysical: false,
                qos: NO_QOS,
              },
            ],
      networkAdapters: [
        {
          id: randomUUID(),
          name: 'Network Adapter',
          macAddress: freshMac(existing),
          switchName: options.switchName === null ? null : DEFAULT_SWITCH,
        },
      ],
      allowedParents: [...allowedParents],
    },
    savedState: null,
    snapshots: [],
    currentSnapshotId: null,
    attached: diskPath === undefined ? {} : { [driveId]: diskPath },
    parents: disk ? { [driveId]: [...disk.parents] } : {},
    pending: null,
    keyValuePairs: {},
  };
  undo.defer(() => removeDataFolder(planned));
  await makeDataFolder(planned);
  // Layers are told apart by their paths, and a disk names its parent by the path without links.
  await context.store.save({ ...planned, dataPath: await realpath(planned.dataPath) });
  undo.commit();
  await operation.finish();
  return { id };
}

/** @throws HvError `already-exists` */
export async function requireFreeName(context: EngineContext, name: string, exceptId?: string): Promise<void> {
  const key = nameKey(name);
  const taken = (await context.store.list()).find(
    (definition) => definition.id !== exceptId && nameKey(definition.specification.name) === key,
  );
  if (taken) {
    throw new HvError(
      'already-exists',
      `a virtual machine named ${JSON.stringify(taken.specification.name)} exists already`,
      {
        detail: { name: taken.specification.name, id: taken.id },
        hint: 'Choose another name; case does not tell names apart.',
      },
    );
  }
}

function freshId(existing: readonly VmDefinition[]): string {
  const taken = new Set(existing.map((definition) => shortId(definition.id)));
  for (;;) {
    const id = randomUUID();
    if (!taken.has(shortId(id))) return id;
  }
}

/** Users for machines: a range that no distribution, container or directory service hands out. */
const FIRST_USER = 0x76680000;
const USER_COUNT = 0x8000;

function freshUser(existing: readonly VmDefinition[]): { uid: number; gid: number } {
  const taken = new Set(existing.map((definition) => definition.user?.uid));
  const start = randomBytes(2).readUInt16LE() % USER_COUNT;
  for (let offset = 0; offset < USER_COUNT; offset++) {
    const uid = FIRST_USER + ((start + offset) % USER_COUNT);
    if (!taken.has(uid)) return { uid, gid: uid };
  }
  throw new HvError('unsupported', `a host holds at most ${USER_COUNT} machines`);
}

/** Microsoft's own prefix for virtual machines, as Hyper-V's dynamic addresses have it. */
function freshMac(existing: readonly VmDefinition[]): string {
  const taken = new Set(
    existing.flatMap((definition) => definition.specification.networkAdapters.map((adapter) => adapter.macAddress)),
  );
  for (;;) {
    const mac = `00:15:5d:${[...randomBytes(3)].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`;
    if (!taken.has(mac)) return mac;
  }
}
