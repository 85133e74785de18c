import { randomUUID } from 'node:crypto';
import { HvError } from '../../src/errors/index.ts';
import type { DvdDriveInfo, HardDiskDriveInfo, StorageService } from '../../src/host/index.ts';
import {
  chooseAddress,
  type DriveAddress,
  type DvdDrive,
  type HardDiskDrive,
  isAt,
  judgeMove,
  NO_QOS,
  showAddress,
  type VmInfo,
  validQos,
} from '../../src/model/index.ts';

/** Drives of machines in memory, at addresses by the rules of every engine. */
export class DoubleStorage implements StorageService {
  readonly #get: (id: string) => VmInfo;
  readonly #set: (info: VmInfo, change: string) => void;

  constructor(get: (id: string) => VmInfo, set: (info: VmInfo, change: string) => void) {
    this.#get = get;
    this.#set = set;
  }

  hardDiskDrives: StorageService['hardDiskDrives'] = async (id) =>
    this.#get(id).hardDiskDrives.map((drive) => describeDisk(this.#get(id), drive));

  addHardDiskDrive: StorageService['addHardDiskDrive'] = async (id, options) => {
    const vm = this.#changing(id);
    const address = chooseAddress(vm, 'hard disk drive', options, vm.state !== 'Off');
    const path = options.path ?? '/disks/new.vhdx';
    const drive = {
      id: randomUUID(),
      ...address,
      path,
      isPhysical: options.isPhysical === true,
      qos: validQos(options.qos ?? {}, NO_QOS),
    };
    if (options.dryRun !== true)
      this.#set({ ...vm, hardDiskDrives: [...vm.hardDiskDrives, drive] }, `add disk ${showAddress(drive)}`);
    return { ...describeDisk(vm, drive), sizeBytes: options.newSizeBytes ?? null };
  };

  removeHardDiskDrive: StorageService['removeHardDiskDrive'] = async (id, address, options = {}) => {
    const vm = this.#changing(id);
    const drive = find(vm.hardDiskDrives, address);
    const hardDiskDrives = vm.hardDiskDrives.filter((each) => each !== drive);
    if (options.dryRun !== true) this.#set({ ...vm, hardDiskDrives }, `remove disk ${showAddress(drive)}`);
    return describeDisk(vm, drive);
  };

  setHardDiskDrive: StorageService['setHardDiskDrive'] = async (id, address, options) => {
    const vm = this.#changing(id);
    const drive = find(vm.hardDiskDrives, address);
    const changed = { ...drive, path: options.path ?? drive.path, qos: validQos(options.qos ?? {}, drive.qos) };
    const hardDiskDrives = vm.hardDiskDrives.map((each) => (each === drive ? changed : each));
    if (options.dryRun !== true) this.#set({ ...vm, hardDiskDrives }, `set disk ${showAddress(drive)}`);
    return describeDisk(vm, changed);
  };

  dvdDrives: StorageService['dvdDrives'] = async (id) =>
    this.#get(id).dvdDrives.map((dvd) => describeDvd(this.#get(id), dvd));

  addDvdDrive: StorageService['addDvdDrive'] = async (id, options = {}) => {
    const vm = this.#changing(id);
    const address = chooseAddress(vm, 'DVD drive', options, vm.state !== 'Off');
    const dvd = { id: randomUUID(), ...address, path: options.path ?? null };
    if (options.dryRun !== true) this.#set({ ...vm, dvdDrives: [...vm.dvdDrives, dvd] }, `add dvd ${showAddress(dvd)}`);
    return describeDvd(vm, dvd);
  };

  removeDvdDrive: StorageService['removeDvdDrive'] = async (id, address, options = {}) => {
    const vm = this.#changing(id);
    const dvd = find(vm.dvdDrives, address);
    const dvdDrives = vm.dvdDrives.filter((each) => each !== dvd);
    if (options.dryRun !== true) this.#set({ ...vm, dvdDrives }, `remove dvd ${showAddress(dvd)}`);
    return describeDvd(vm, dvd);
  };

  mountIso: StorageService['mountIso'] = async (id, path, options = {}) => this.#fill(id, path, options);

  ejectIso: StorageService['ejectIso'] = async (id, options = {}) => this.#fill(id, null, options);

  #fill(
    id: string,
    path: string | null,
    options: { readonly address?: DriveAddress; readonly dryRun?: boolean },
  ): DvdDriveInfo {
    const vm = this.#changing(id);
    const dvd = options.address ? find(vm.dvdDrives, options.address) : vm.dvdDrives[0];
    if (!dvd) throw new HvError('not-found', `"${vm.name}" has no DVD drive`);
    const changed = { ...dvd, path };
    const dvdDrives = vm.dvdDrives.map((each) => (each === dvd ? changed : each));
    if (options.dryRun !== true) this.#set({ ...vm, dvdDrives }, path === null ? 'eject' : `mount ${path}`);
    return describeDvd(vm, changed);
  }

  addScsiController: StorageService['addScsiController'] = async (id, options = {}) => this.#count(id, 1, options);

  removeScsiController: StorageService['removeScsiController'] = async (id, options = {}) =>
    this.#count(id, -1, options);

  #count(id: string, by: number, options: { readonly dryRun?: boolean }): number {
    const vm = this.#get(id);
    judgeMove('changeControllers', vm.state, vm);
    const scsiControllerCount = vm.scsiControllerCount + by;
    if (options.dryRun !== true) this.#set({ ...vm, scsiControllerCount }, `controllers ${scsiControllerCount}`);
    return scsiControllerCount;
  }

  #changing(id: string): VmInfo {
    const vm = this.#get(id);
    judgeMove('changeDrives', vm.state, vm);
    return vm;
  }
}

function find<T extends DriveAddress>(drives: readonly T[], address: DriveAddress): T {
  const drive = drives.find((each) => isAt(each, address));
  if (!drive) throw new HvError('not-found', `there is no drive at ${showAddress(address)}`);
  return drive;
}

function describeDisk(vm: VmInfo, drive: HardDiskDrive): HardDiskDriveInfo {
  return { ...drive, vmId: vm.id, vmName: vm.name, attachedPath: drive.path, sizeBytes: 2 ** 30 };
}

function describeDvd(vm: VmInfo, dvd: DvdDrive): DvdDriveInfo {
  return { ...dvd, vmId: vm.id, vmName: vm.name, warning: null };
}
