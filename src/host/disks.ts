import type { LongOptions } from '../async/index.ts';
import type { CreateVhdOptions, VhdInfo } from '../disk/index.ts';

/** Virtual hard disk files as this host handles them (Msvm_ImageManagementService, VirtDisk). */
export interface DiskService {
  /** Windows: CreateVirtualHardDisk (Msvm_VirtualHardDiskSettingData). @throws `already-exists`, `invalid-argument`, `no-space` */
  create(path: string, options: CreateVhdOptions & LongOptions): Promise<VhdInfo>;

  /** Windows: GetVirtualHardDiskSettingData, GetVirtualHardDiskState. @throws `not-found`, `corrupt` */
  info(path: string): Promise<VhdInfo>;

  /** The machines that use this file, as a drive, under a snapshot, or as a parent. */
  users(path: string): Promise<readonly DiskUser[]>;
}

export interface DiskUser {
  readonly id: string;
  readonly name: string;
  /** Written to as a drive (now, or by a snapshot's layer), or read under one. */
  readonly as: 'drive' | 'parent';
}
