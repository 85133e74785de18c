import { z } from 'zod';
import {
  AUTOMATIC_START_ACTIONS,
  AUTOMATIC_STOP_ACTIONS,
  CHECKPOINT_TYPES,
  CONSOLE_MODES,
  SECURE_BOOT_TEMPLATES,
  type VmSpecification,
} from '../model/index.ts';
import { absolutePath, guid } from './values.ts';

/** A machine's settings as vm.json holds them: model's VmSpecification, checked once here. */

const bound = z.int().min(1).nullable();

const address = {
  controllerType: z.enum(['IDE', 'SCSI']),
  controllerNumber: z.int().min(0).max(3),
  controllerLocation: z.int().min(0).max(63),
};

const hardDiskDrive = z.strictObject({
  id: guid,
  ...address,
  path: absolutePath,
  isPhysical: z.boolean(),
  qos: z.strictObject({ maximumIops: bound, minimumIops: bound, maximumBytesPerSecond: bound }),
});

const dvdDrive = z.strictObject({ id: guid, ...address, path: absolutePath.nullable() });

const networkAdapter = z.strictObject({
  id: guid,
  name: z.string(),
  macAddress: z.string().regex(/^(?:[0-9a-f]{2}:){5}[0-9a-f]{2}$/),
  switchName: z.string().nullable(),
});

const processor = z.strictObject({
  maximumCount: bound,
  reservationPercent: z.int().min(0).max(100),
  limitPercent: z.int().min(1).max(100),
  relativeWeight: z.int().min(1).max(10_000),
  nestedVirtualization: z.boolean(),
});

const dynamicMemory = z.strictObject({
  minimumBytes: z.int().min(1),
  maximumBytes: z.int().min(1),
  bufferPercent: z.int().min(5).max(200),
  priority: z.int().min(0).max(10_000),
});

const mmio = z.strictObject({
  lowBytes: z.int().min(0),
  highBytes: z.int().min(0),
  guestControlledCacheTypes: z.boolean(),
});

const automaticActions = z.strictObject({
  start: z.enum(AUTOMATIC_START_ACTIONS),
  startDelaySeconds: z.int().min(0).max(86_400),
  stop: z.enum(AUTOMATIC_STOP_ACTIONS),
});

const bootDevice = z.strictObject({ kind: z.enum(['HardDiskDrive', 'DvdDrive', 'NetworkAdapter']), id: guid });

const firmware = z.strictObject({
  bootOrder: z.array(bootDevice),
  nextBoot: bootDevice.nullable(),
  secureBoot: z.boolean(),
  secureBootTemplate: z.enum(SECURE_BOOT_TEMPLATES),
  consoleMode: z.enum(CONSOLE_MODES),
});

const comPort = z.strictObject({
  number: z.union([z.literal(1), z.literal(2)]),
  target: z.strictObject({ kind: z.enum(['socket', 'file', 'pipe']), path: absolutePath }).nullable(),
});

export const specification = z.strictObject({
  name: z.string(),
  generation: z.union([z.literal(1), z.literal(2)]),
  guest: z.enum(['linux', 'windows']),
  notes: z.string(),
  groups: z.array(z.string()),
  processorCount: z.int().min(1),
  processor,
  memoryBytes: z.int().min(1),
  dynamicMemory: dynamicMemory.nullable(),
  mmio,
  automaticActions,
  checkpoints: z.strictObject({ type: z.enum(CHECKPOINT_TYPES), automatic: z.boolean() }),
  firmware,
  tpm: z.boolean(),
  comPorts: z.array(comPort),
  scsiControllerCount: z.int().min(0).max(4),
  hardDiskDrives: z.array(hardDiskDrive),
  dvdDrives: z.array(dvdDrive),
  networkAdapters: z.array(networkAdapter),
  allowedParents: z.array(absolutePath),
});

/** For whoever is sent one. */
export const specificationSchema: z.ZodType<VmSpecification> = specification;
