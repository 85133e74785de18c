import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { type LongOptions, Undo } from '../../async/index.ts';
import { createVhd, physicalDiskSize, vhdInfo } from '../../disk/index.ts';
import { HvError, isHvError } from '../../errors/index.ts';
import type {
  AddDvdDriveOptions,
  AddHardDiskDriveOptions,
  DryRun,
  DvdDriveInfo,
  HardDiskDriveInfo,
  RemoveHardDiskDriveOptions,
  SetHardDiskDriveOptions,
  StorageService,
} from '../../host/index.ts';
import {
  chooseAddress,
  type DriveAddress,
  type DvdDrive,
  type HardDiskDrive,
  MAX_SCSI_CONTROLLERS,
  NO_QOS,
  showAddress,
  type VmAction,
  validQos,
} from '../../model/index.ts';
import type { VmDefinition } from '../../state/index.ts';
import { changeSettings, changeSettingsAndFiles } from './change-settings.ts';
import type { EngineContext } from './context.ts';
import { canonicalPath, type QemuDiskService } from './disks.ts';
import {
  isOnLayerOfItsOwn,
  mustBePossible,
  requireDriveAt,
  withDvdDrive,
  withHardDiskDrive,
  withoutDrive,
} from './drives.ts';
import { examineIso } from './iso-images.ts';
import { dropAbandonedLayers, finishPending, simplifyLayers } from './layers.ts';
import { observe } from './observe.ts';
import { ensureDiskFolder, type PlannedDisk, planExistingDisk, planNewDisk, planPhysicalDisk } from './plan-disk.ts';
import { judge } from './run-state.ts';

/** A machine whose drives are about to change, with its lock held. */
interface Changing {
  readonly definition: VmDefinition;
  readonly isRunning: boolean;
}

/** Drives of machines in QEMU. */
export class QemuStorageService implements StorageService {
  readonly #context: EngineContext;
  readonly #disks: QemuDiskService;

  constructor(context: EngineContext, disks: QemuDiskService) {
    this.#context = context;
    this.#disks = disks;
  }

  async hardDiskDrives(vmId: string): Promise<HardDiskDriveInfo[]> {
    const definition = await this.#context.store.load(vmId);
    return Promise.all(definition.specification.hardDiskDrives.map((drive) => describeDisk(definition, drive)));
  }

  async addHardDiskDrive(
    vmId: string,
    options: AddHardDiskDriveOptions,
    long: LongOptions = {},
  ): Promise<HardDiskDriveInfo> {
    const qos = validQos(options.qos ?? {}, NO_QOS);
    return this.#change(vmId, 'changeDrives', long, async ({ definition, isRunning }) => {
      const { specification } = definition;
      if (options.isPhysical === true) mustHaveNoSnapshots(definition);
      const address = chooseAddress(specification, 'hard disk drive', options, isRunning);
      mustBePossible(specification, address, isRunning);
      const allowedParents = await canonicalPaths(options.allowedParents);
      const disk = await this.#planDisk(options, allowedParents);
      const drive: HardDiskDrive = {
        id: randomUUID(),
        ...address,
        path: disk.path,
        isPhysical: options.isPhysical === true,
        qos,
      };
      const changed = withHardDiskDrive(definition, drive, disk, allowedParents);
      if (options.dryRun === true)
        return {
          ...(await describeDisk(changed, drive)),
          ...(disk.newSizeBytes ? { sizeBytes: disk.newSizeBytes } : {}),
        };
      await using undo = new Undo();
      if (disk.newSizeBytes !== null) {
        if (options.path === undefined) await ensureDiskFolder(this.#context);
        await createVhd(disk.path, { type: 'dynamic', sizeBytes: disk.newSizeBytes, ...long });
        undo.defer(() => rm(disk.path, { force: true }));
      }
      await changeSettingsAndFiles(this.#context, definition, changed);
      undo.commit();
      return describeDisk(changed, drive);
    });
  }

  #planDisk(
    { path, newSizeBytes, isPhysical }: AddHardDiskDriveOptions,
    allowedParents: readonly string[],
  ): Promise<PlannedDisk> {
    if (isPhysical === true) {
      if (path !== undefined && newSizeBytes === undefined) return planPhysicalDisk(this.#disks, path);
      throw new HvError('invalid-argument', 'a pass-through drive needs a block device of this host', {
        hint: 'Name one that is there, such as /dev/sdb, and no size.',
      });
    }
    if (newSizeBytes !== undefined) return planNewDisk(this.#context, path, newSizeBytes);
    if (path !== undefined) return planExistingDisk(this.#disks, path, allowedParents);
    throw new HvError('invalid-argument', 'a hard disk drive needs a disk', {
      hint: 'Name its file, or the size of a new one.',
    });
  }

  async removeHardDiskDrive(
    vmId: string,
    address: DriveAddress,
    options: RemoveHardDiskDriveOptions = {},
    long: LongOptions = {},
  ): Promise<HardDiskDriveInfo> {
    return this.#change(vmId, 'changeDrives', long, async ({ definition: found, isRunning }) => {
      requireDriveAt(found, found.specification.hardDiskDrives, address, 'hard disk drive');
      mustBeUnpluggable(found, address, isRunning);
      const isTidied = found.snapshots.length === 0 && options.dryRun !== true;
      const definition = isTidied ? await simplifyLayers(this.#context, found, long) : found;
      const drive = requireDriveAt(definition, definition.specification.hardDiskDrives, address, 'hard disk drive');
      mustNotBeMirrored(definition, drive);
      if (isOnLayerOfItsOwn(definition, drive) && definition.snapshots.length > 0 && options.discardChanges !== true) {
        throw new HvError(
          'invalid-state',
          `what was written to ${showAddress(drive)} since the last snapshot of "${definition.specification.name}" would be lost`,
          {
            detail: { id: vmId, path: drive.path },
            hint: 'Delete the snapshots first, which keeps it; or discard those changes: --discard-changes.',
          },
        );
      }
      const info = await describeDisk(definition, drive);
      if (options.dryRun === true) return info;
      const changed = withoutDrive(definition, drive.id);
      await changeSettings(this.#context, definition, changed);
      await dropAbandonedLayers(definition, changed);
      return info;
    });
  }

  async setHardDiskDrive(
    vmId: string,
    address: DriveAddress,
    options: SetHardDiskDriveOptions,
    long: LongOptions = {},
  ): Promise<HardDiskDriveInfo> {
    return this.#change(vmId, 'changeDrives', long, async ({ definition, isRunning }) => {
      const present = requireDriveAt(definition, definition.specification.hardDiskDrives, address, 'hard disk drive');
      const qos = validQos(options.qos ?? {}, present.qos);
      const drive = { ...present, qos };
      let changed = withSettingsOf(definition, drive);
      if (options.path !== undefined) {
        mustBeReplaceable(definition, present, isRunning);
        const allowedParents = await canonicalPaths(options.allowedParents);
        const disk = await planExistingDisk(this.#disks, options.path, allowedParents);
        changed = withHardDiskDrive(definition, { ...drive, path: disk.path }, disk, allowedParents);
      }
      if (options.dryRun !== true) await changeSettings(this.#context, definition, changed);
      const result = requireDriveAt(changed, changed.specification.hardDiskDrives, address, 'hard disk drive');
      return describeDisk(changed, result);
    });
  }

  async dvdDrives(vmId: string): Promise<DvdDriveInfo[]> {
    const definition = await this.#context.store.load(vmId);
    return Promise.all(definition.specification.dvdDrives.map((dvd) => describeDvd(definition, dvd)));
  }

  async addDvdDrive(vmId: string, options: AddDvdDriveOptions = {}, long: LongOptions = {}): Promise<DvdDriveInfo> {
    return this.#change(vmId, 'changeDrives', long, async ({ definition, isRunning }) => {
      const address = chooseAddress(definition.specification, 'DVD drive', options, isRunning);
      mustBePossible(definition.specification, address, isRunning);
      const path = options.path === undefined ? null : (await examineIso(options.path)).path;
      const dvd: DvdDrive = { id: randomUUID(), ...address, path };
      const changed = withDvdDrive(definition, dvd);
      if (options.dryRun !== true) {
        const change = path === null ? changeSettings : changeSettingsAndFiles;
        await change(this.#context, definition, changed);
      }
      return describeDvd(changed, dvd);
    });
  }

  async removeDvdDrive(
    vmId: string,
    address: DriveAddress,
    options: DryRun = {},
    long: LongOptions = {},
  ): Promise<DvdDriveInfo> {
    return this.#change(vmId, 'changeDrives', long, async ({ definition, isRunning }) => {
      const dvd = requireDriveAt(definition, definition.specification.dvdDrives, address, 'DVD drive');
      mustBeUnpluggable(definition, address, isRunning);
      if (options.dryRun !== true) await changeSettings(this.#context, definition, withoutDrive(definition, dvd.id));
      return describeDvd(definition, dvd);
    });
  }

  async mountIso(
    vmId: string,
    isoPath: string,
    options: DryRun & { readonly address?: DriveAddress } = {},
    long: LongOptions = {},
  ): Promise<DvdDriveInfo> {
    return this.#change(vmId, 'changeDrives', long, async ({ definition, isRunning }) => {
      const dvd = requireDvd(definition, options.address);
      const { path } = await examineIso(isoPath);
      const filled = { ...dvd, path };
      if (options.dryRun !== true) await this.#insert(definition, dvd, filled, isRunning);
      return describeDvd(definition, filled);
    });
  }

  /** The old image comes out while its server still answers; a failure puts it back. */
  async #insert(definition: VmDefinition, dvd: DvdDrive, filled: DvdDrive, isRunning: boolean): Promise<void> {
    const changed = withDvdDrive(definition, filled);
    if (dvd.path === null || !isRunning) return changeSettingsAndFiles(this.#context, definition, changed);
    const empty = withDvdDrive(definition, { ...dvd, path: null });
    await changeSettings(this.#context, definition, empty);
    try {
      await changeSettingsAndFiles(this.#context, empty, changed);
    } catch (error) {
      await changeSettingsAndFiles(this.#context, empty, definition);
      throw error;
    }
  }

  async ejectIso(
    vmId: string,
    options: DryRun & { readonly address?: DriveAddress } = {},
    long: LongOptions = {},
  ): Promise<DvdDriveInfo> {
    return this.#change(vmId, 'changeDrives', long, async ({ definition }) => {
      const dvd = requireDvd(definition, options.address);
      const empty = { ...dvd, path: null };
      if (options.dryRun !== true && dvd.path !== null)
        await changeSettings(this.#context, definition, withDvdDrive(definition, empty));
      return describeDvd(definition, empty);
    });
  }

  async addScsiController(vmId: string, options: DryRun = {}): Promise<number> {
    return this.#changeControllers(vmId, options, ({ specification }) => {
      const { name, scsiControllerCount } = specification;
      if (scsiControllerCount < MAX_SCSI_CONTROLLERS) return scsiControllerCount + 1;
      throw new HvError(
        'invalid-state',
        `"${name}" has ${MAX_SCSI_CONTROLLERS} SCSI controllers: more are not possible`,
        {
          detail: { id: vmId, scsiControllerCount },
        },
      );
    });
  }

  async removeScsiController(vmId: string, options: DryRun = {}): Promise<number> {
    return this.#changeControllers(vmId, options, ({ specification }) => {
      const { name, scsiControllerCount, hardDiskDrives, dvdDrives } = specification;
      const last = scsiControllerCount - 1;
      const isUsed = [...hardDiskDrives, ...dvdDrives].some(
        (drive) => drive.controllerType === 'SCSI' && drive.controllerNumber === last,
      );
      if (last >= 0 && !isUsed) return last;
      const why = isUsed ? `has drives on its SCSI controller ${last}` : 'has no SCSI controller';
      throw new HvError('invalid-state', `"${name}" ${why}`, { detail: { id: vmId, scsiControllerCount } });
    });
  }

  #changeControllers(vmId: string, options: DryRun, count: (definition: VmDefinition) => number): Promise<number> {
    return this.#change(vmId, 'changeControllers', {}, async ({ definition }) => {
      const scsiControllerCount = count(definition);
      const { specification } = definition;
      if (options.dryRun !== true) {
        const changed = { ...definition, specification: { ...specification, scsiControllerCount } };
        await changeSettings(this.#context, definition, changed);
      }
      return scsiControllerCount;
    });
  }

  #change<T>(vmId: string, action: VmAction, long: LongOptions, work: (changing: Changing) => Promise<T>): Promise<T> {
    return this.#context.withLock(vmId, long.signal, async (found) => {
      await judge(this.#context, found, action);
      const isRunning = (await observe(this.#context, found)).runtime !== null;
      if (!isRunning) await this.#context.releaseDisks(vmId);
      return work({ definition: await finishPending(this.#context, found, long), isRunning });
    });
  }
}

function canonicalPaths(paths: readonly string[] = []): Promise<string[]> {
  return Promise.all(paths.map(canonicalPath));
}

function withSettingsOf(definition: VmDefinition, drive: HardDiskDrive): VmDefinition {
  const { specification } = definition;
  const hardDiskDrives = specification.hardDiskDrives.map((each) => (each.id === drive.id ? drive : each));
  return { ...definition, specification: { ...specification, hardDiskDrives } };
}

function mustBeUnpluggable({ specification }: VmDefinition, address: DriveAddress, isRunning: boolean): void {
  mustBePossible(specification, address, isRunning);
  if (!isRunning || address.controllerType === 'SCSI') return;
  throw new HvError('invalid-state', `"${specification.name}" is running: a drive on IDE cannot be added or removed`, {
    detail: { vm: specification.name, ...address },
    hint: 'The machine must be off.',
  });
}

/** They would go back without the device, which has no layers. */
function mustHaveNoSnapshots({ id, specification, snapshots }: VmDefinition): void {
  if (snapshots.length === 0) return;
  throw new HvError('invalid-state', `"${specification.name}" has snapshots, which a pass-through drive has not`, {
    detail: { id },
    hint: 'Delete its snapshots first.',
  });
}

function mustNotBeMirrored(definition: VmDefinition, drive: HardDiskDrive): void {
  const mirrorPath = definition.mirrors?.[drive.id];
  if (mirrorPath === undefined) return;
  throw new HvError('in-use', `${drive.path} is mirrored to ${mirrorPath}`, {
    detail: { id: definition.id, path: drive.path, mirrorPath },
    hint: 'Break the mirror first: hv vhd break-mirror',
  });
}

/** Another file takes the place of the present one: only where nothing else holds on to that. */
function mustBeReplaceable(definition: VmDefinition, drive: HardDiskDrive, isRunning: boolean): void {
  const { name } = definition.specification;
  if (isRunning) {
    throw new HvError('invalid-state', `"${name}" is running: its drive keeps its disk`, {
      detail: { id: definition.id, path: drive.path },
      hint: 'Stop it first; or remove the drive and add another.',
    });
  }
  if (drive.isPhysical) {
    throw new HvError('invalid-state', `${showAddress(drive)} of "${name}" is a pass-through drive`, {
      detail: { id: definition.id, path: drive.path },
      hint: 'Remove it, and add another.',
    });
  }
  if (drive.path === definition.attached[drive.id]) return;
  throw new HvError('invalid-state', `snapshots of "${name}" stand on the disk of ${showAddress(drive)}`, {
    detail: { id: definition.id, path: drive.path },
    hint: 'Delete its snapshots first.',
  });
}

function requireDvd(definition: VmDefinition, address: DriveAddress | undefined): DvdDrive {
  const { name, dvdDrives } = definition.specification;
  if (address) return requireDriveAt(definition, dvdDrives, address, 'DVD drive');
  const [first] = dvdDrives;
  if (first) return first;
  throw new HvError('not-found', `"${name}" has no DVD drive`, {
    detail: { id: definition.id },
    hint: 'Add one: hv dvd add',
  });
}

async function describeDisk(definition: VmDefinition, drive: HardDiskDrive): Promise<HardDiskDriveInfo> {
  const { id: vmId, specification } = definition;
  const attachedPath = definition.attached[drive.id] ?? drive.path;
  return { ...drive, vmId, vmName: specification.name, attachedPath, sizeBytes: await sizeOf(drive) };
}

async function sizeOf({ path, isPhysical }: HardDiskDrive): Promise<number | null> {
  try {
    if (isPhysical) return physicalDiskSize(path);
    return (await vhdInfo(path)).virtualSizeBytes;
  } catch (error) {
    if (isHvError(error)) return null; // whoever starts the machine hears why
    throw error;
  }
}

async function describeDvd({ id: vmId, specification }: VmDefinition, dvd: DvdDrive): Promise<DvdDriveInfo> {
  return { ...dvd, vmId, vmName: specification.name, warning: dvd.path === null ? null : await warningOf(dvd.path) };
}

async function warningOf(path: string): Promise<string | null> {
  try {
    return (await examineIso(path)).warning;
  } catch (error) {
    if (isHvError(error)) return error.message;
    throw error;
  }
}
