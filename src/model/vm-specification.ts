import { HvError } from '../errors/index.ts';
import type { AutomaticActions } from './automatic-actions.ts';
import type { DvdDrive, HardDiskDrive } from './drives.ts';
import type { DynamicMemory } from './dynamic-memory.ts';
import type { ComPort, FirmwareSettings } from './firmware.ts';
import { validName } from './names.ts';
import type { ProcessorSettings } from './processor-settings.ts';
import type { CheckpointSettings } from './snapshot.ts';

export type VmGeneration = 1 | 2;
/** What the guest drives out of the box: decides the devices that it is given. */
export type GuestProfile = 'linux' | 'windows';

/** The name of the built-in switch: NAT and DHCP, no privilege needed. */
export const DEFAULT_SWITCH = 'Default Switch';

export const MIN_MEMORY_BYTES = 32 * 2 ** 20;
export const MAX_MEMORY_BYTES = 12 * 2 ** 40; // Hyper-V's own limit for a Generation 2 machine (Windows Server 2019)
export const MAX_PROCESSORS = 240;
export const DEFAULT_MEMORY_BYTES = 2 * 2 ** 30;
export const DEFAULT_PROCESSORS = 2;

/** A network adapter (Msvm_SyntheticEthernetPortSettingData). */
export interface NetworkAdapter {
  readonly id: string;
  readonly name: string;
  /** Six bytes as `00:15:5d:xx:xx:xx`. */
  readonly macAddress: string;
  /** Null: the adapter is connected to nothing. */
  readonly switchName: string | null;
}

/** Space for devices that are passed to the guest (Msvm_VirtualSystemSettingData). */
export interface MmioSettings {
  /** Below 4 GiB. */
  readonly lowBytes: number;
  readonly highBytes: number;
  /** The guest decides how memory of devices is cached (GuestControlledCacheTypes). */
  readonly guestControlledCacheTypes: boolean;
}

export const DEFAULT_MMIO: MmioSettings = {
  lowBytes: 128 * 2 ** 20,
  highBytes: 512 * 2 ** 20,
  guestControlledCacheTypes: false,
};

/** The definition of a virtual machine: data that an engine translates (Msvm_VirtualSystemSettingData). */
export interface VmSpecification {
  readonly name: string;
  readonly generation: VmGeneration;
  readonly guest: GuestProfile;
  /** What people write down about it. */
  readonly notes: string;
  /** Names of the groups that it belongs to. */
  readonly groups: readonly string[];
  readonly processorCount: number;
  readonly processor: ProcessorSettings;
  /** What it starts with. */
  readonly memoryBytes: number;
  /** Null: it keeps what it starts with. */
  readonly dynamicMemory: DynamicMemory | null;
  readonly mmio: MmioSettings;
  readonly automaticActions: AutomaticActions;
  readonly checkpoints: CheckpointSettings;
  readonly firmware: FirmwareSettings;
  /** It has a virtual TPM 2.0 (Msvm_SecuritySettingData.TpmEnabled). */
  readonly tpm: boolean;
  readonly comPorts: readonly ComPort[];
  readonly scsiControllerCount: number;
  readonly hardDiskDrives: readonly HardDiskDrive[];
  readonly dvdDrives: readonly DvdDrive[];
  readonly networkAdapters: readonly NetworkAdapter[];
  /** Files or folders outside a disk's own folder where its parents may lie. */
  readonly allowedParents: readonly string[];
}

/** What a caller gives to create a virtual machine. */
export interface CreateVmOptions {
  readonly name: string;
  /** Bytes; default 2 GiB. */
  readonly memoryBytes?: number;
  /** Default 2. */
  readonly processorCount?: number;
  /** Default 2. */
  readonly generation?: VmGeneration;
  /** Default `linux`. */
  readonly guest?: GuestProfile;
  /** An existing virtual hard disk to attach as the boot disk. */
  readonly diskPath?: string;
  /** Creates a dynamic VHDX of this many bytes and attaches it: at `diskPath` when given too, else in the default disk folder. */
  readonly newDiskSizeBytes?: number;
  /** Connects an adapter to this switch; absent: `Default Switch`; null: an adapter that is connected to nothing. */
  readonly switchName?: string | null;
  /** Files or folders outside the disk's own folder where its parents may lie. */
  readonly allowedParents?: readonly string[];
}

/** Checks what was given against the limits of Hyper-V and fills in the defaults. @throws HvError `invalid-argument` */
export function validCreateOptions(options: CreateVmOptions): CreateVmOptions & {
  readonly memoryBytes: number;
  readonly processorCount: number;
  readonly generation: VmGeneration;
  readonly guest: GuestProfile;
} {
  const generation = options.generation ?? 2;
  if (generation !== 1 && generation !== 2) refuse('generation', generation, 'Use 1 (BIOS) or 2 (UEFI).');
  const guest = options.guest ?? 'linux';
  if (guest !== 'linux' && guest !== 'windows') refuse('guest', guest, 'Use linux or windows.');
  return {
    ...options,
    name: validName(options.name, 'machine name'),
    memoryBytes: validMemory(options.memoryBytes ?? DEFAULT_MEMORY_BYTES),
    processorCount: validProcessorCount(options.processorCount ?? DEFAULT_PROCESSORS),
    generation,
    guest,
  };
}

/** @throws HvError `invalid-argument` */
export function validMemory(bytes: number): number {
  if (!Number.isSafeInteger(bytes) || bytes < MIN_MEMORY_BYTES || bytes > MAX_MEMORY_BYTES) {
    refuse('memory', bytes, 'Use 32M to 12T, in whole megabytes.');
  }
  if (bytes % 2 ** 20 !== 0) refuse('memory', bytes, 'Use a whole number of megabytes.');
  return bytes;
}

/** @throws HvError `invalid-argument` */
export function validProcessorCount(count: number): number {
  if (!Number.isSafeInteger(count) || count < 1 || count > MAX_PROCESSORS) {
    refuse('processor count', count, `Use a whole number from 1 to ${MAX_PROCESSORS}.`);
  }
  return count;
}

function refuse(what: string, value: unknown, hint: string): never {
  const shown = typeof value === 'number' ? value + 0 : String(value); // -0 would not survive JSON
  throw new HvError('invalid-argument', `the ${what} ${shown} is not possible`, {
    detail: { what, value: typeof shown === 'number' && !Number.isFinite(shown) ? String(shown) : shown },
    hint,
  });
}
