import type { HyperVFacade, Snapshot, Vm } from '../facade/index.ts';

/** The nouns as the facade hands them out. */
export type VmInfo = Awaited<ReturnType<Vm['info']>>;
export type SnapshotInfo = Snapshot['info'];
export type CreateVmOptions = Parameters<HyperVFacade['createVm']>[0];
export type HardDiskDrive = Awaited<ReturnType<Vm['addHardDiskDrive']>>;
export type DvdDrive = Awaited<ReturnType<Vm['addDvdDrive']>>;
export type DriveAddress = Parameters<Vm['removeHardDiskDrive']>[0];
export type StorageQos = HardDiskDrive['qos'];
export type HostEvent = Awaited<ReturnType<HyperVFacade['listEvents']>>[number];
export type OperationInfo = Awaited<ReturnType<HyperVFacade['listOperations']>>[number];
export type VmMeasurement = Awaited<ReturnType<Vm['measure']>>;
export type VmSettings = Parameters<Vm['set']>[0];
