import { randomBytes, randomUUID } from 'node:crypto';
import { realpath, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type LongOptions, Undo } from '../../async/index.ts';
import { checkNewVhd, createVhd, DiskChain, formatOf, openVhd } from '../../disk/index.ts';
import { fromSystemError, HvError } from '../../errors/index.ts';
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

/** A plan that passed every check; nothing has been made. */
interface Plan {
  readonly options: ReturnType<typeof validCreateOptions>;
  readonly disk: { readonly path: string; readonly isNew: boolean; readonly parents: readonly string[] } | null;
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
  options: CreateVmOptions,
  allowedParents: readonly string[],
): Promise<Plan['disk']> {
  if (options.newDiskSizeBytes !== undefined) {
    const path =
      options.diskPath === undefined
        ? join((await context.settings()).vhdPath, `${randomUUID()}.vhdx`)
        : resolve(options.diskPath);
    if (await exists(path)) {
      throw new HvError('already-exists', `the file ${path} exists already`, {
        detail: { path },
        hint: 'Attach it without a size for a new disk, or choose another path.',
      });
    }
    const disk = { type: 'dynamic', format: 'vhdx', sizeBytes: options.newDiskSizeBytes } as const;
    if (formatOf(path) !== 'vhdx') {
      throw new HvError('invalid-argument', `a machine's new disk is a VHDX file, which ${path} does not say`, {
        detail: { path },
        hint: 'Let its name end in .vhdx.',
      });
    }
    // The default folder is made with the first disk in it: only a folder that was named must be there already.
    if (options.diskPath === undefined) checkNewVhd(path, disk);
    else await createVhd(path, { ...disk, dryRun: true });
    return { path, isNew: true, parents: [] };
  }
  if (options.diskPath === undefined) return null;
  const path = await canonicalPath(options.diskPath);
  const [user] = await disks.users(path);
  if (user) {
    throw new HvError(
      'in-use',
      `the disk ${path} belongs to the virtual machine "${user.name}"${user.as === 'parent' ? ', as a parent of its disk' : ''}`,
      {
        detail: { path, vm: user.name, id: user.id },
        hint: 'Make a differencing disk on it, or copy it.',
      },
    );
  }
  // Opening it as a machine would finds what is missing, foreign, damaged or held by somebody else.
  const chain = await openVhd(path, { readOnly: false, allowParents: allowedParents });
  let parents: string[];
  try {
    // All but the disk itself; of a VHD Set, which only names its disk, all.
    parents =
      chain instanceof DiskChain ? chain.layers.map((layer) => layer.path).filter((layer) => layer !== path) : [];
  } finally {
    await chain.close();
  }
  await requireUnwritten(disks, path, parents);
  return { path, isNew: false, parents };
}

/** A parent that some machine writes to is no parent: the disk on it would be lost with the first write. */
async function requireUnwritten(disks: QemuDiskService, path: string, parents: readonly string[]): Promise<void> {
  for (const parent of parents) {
    const writer = (await disks.users(parent)).find((user) => user.as === 'drive');
    if (!writer) continue;
    throw new HvError(
      'in-use',
      `the disk ${path} stands on ${parent}, which belongs to the virtual machine "${writer.name}"`,
      {
        detail: { path, parentPath: parent, vm: writer.name, id: writer.id },
        hint: 'That machine would change it, and with it this disk. Copy the parent, or delete that machine first.',
      },
    );
  }
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
  const newDisk = disk?.isNew ? { path: disk.path, virtualDiskId: randomUUID() } : null;
  await using operation = await context.operations.begin({ kind: 'create-vm', vmId: id, dataPath, newDisk });
  await using undo = new Undo();
  undo.defer(() => operation.finish());
  let diskPath = disk?.path;
  if (newDisk && options.newDiskSizeBytes !== undefined) {
    if (options.diskPath === undefined) await ensureDiskFolder((await context.settings()).vhdPath);
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

/** The default disk folder may be shared with people: unlike hv's own folders, its owner is not checked. */
async function ensureDiskFolder(path: string): Promise<void> {
  if (!(await exists(path))) await ensureFolder(path);
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    const failure = fromSystemError(error, `cannot look at ${path}`, { path });
    if (failure.code === 'not-found') return false;
    throw failure;
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
