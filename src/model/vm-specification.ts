import { HvError } from '../errors/index.ts';
import { validName } from './names.ts';

export type VmGeneration = 1 | 2;
/** What the guest drives out of the box: decides the devices that it is given. */
export type GuestProfile = 'linux' | 'windows';
export type ControllerType = 'IDE' | 'SCSI';

/** The name of the built-in switch: NAT and DHCP, no privilege needed. */
export const DEFAULT_SWITCH = 'Default Switch';

export const MIN_MEMORY_BYTES = 32 * 2 ** 20;
export const MAX_MEMORY_BYTES = 12 * 2 ** 40; // Hyper-V's own limit for a Generation 2 machine (Windows Server 2019)
export const MAX_PROCESSORS = 240;
export const DEFAULT_MEMORY_BYTES = 2 * 2 ** 30;
export const DEFAULT_PROCESSORS = 2;

/** A hard disk drive with its medium (Msvm_ResourceAllocationSettingData and Msvm_StorageAllocationSettingData). */
export interface HardDiskDrive {
  /** Stable for the life of the drive; names the device inside the engine. */
  readonly id: string;
  readonly controllerType: ControllerType;
  readonly controllerNumber: number;
  readonly controllerLocation: number;
  /** The file that the guest writes to now: after a snapshot, a differencing disk. */
  readonly path: string;
}

/** A network adapter (Msvm_SyntheticEthernetPortSettingData). */
export interface NetworkAdapter {
  readonly id: string;
  readonly name: string;
  /** Six bytes as `00:15:5d:xx:xx:xx`. */
  readonly macAddress: string;
  /** Null: the adapter is connected to nothing. */
  readonly switchName: string | null;
}

/** The definition of a virtual machine: data that an engine translates (Msvm_VirtualSystemSettingData). */
export interface VmSpecification {
  readonly name: string;
  readonly generation: VmGeneration;
  readonly guest: GuestProfile;
  readonly processorCount: number;
  readonly memoryBytes: number;
  readonly hardDiskDrives: readonly HardDiskDrive[];
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

function validMemory(bytes: number): number {
  if (!Number.isSafeInteger(bytes) || bytes < MIN_MEMORY_BYTES || bytes > MAX_MEMORY_BYTES) {
    refuse('memory', bytes, 'Use 32M to 12T, in whole megabytes.');
  }
  if (bytes % 2 ** 20 !== 0) refuse('memory', bytes, 'Use a whole number of megabytes.');
  return bytes;
}

function validProcessorCount(count: number): number {
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
