import { DEFAULT_AUTOMATIC_ACTIONS } from './automatic-actions.ts';
import { DEFAULT_COM_PORTS, DEFAULT_FIRMWARE } from './firmware.ts';
import { DEFAULT_PROCESSOR } from './processor-settings.ts';
import { DEFAULT_CHECKPOINTS } from './snapshot.ts';
import { DEFAULT_MMIO, type VmSpecification } from './vm-specification.ts';

/** The settings of a new machine that nobody was asked about. */
export const DEFAULT_SETTINGS: Omit<
  VmSpecification,
  'name' | 'generation' | 'guest' | 'processorCount' | 'memoryBytes' | 'hardDiskDrives' | 'networkAdapters'
> = {
  notes: '',
  groups: [],
  processor: DEFAULT_PROCESSOR,
  dynamicMemory: null,
  mmio: DEFAULT_MMIO,
  automaticActions: DEFAULT_AUTOMATIC_ACTIONS,
  checkpoints: DEFAULT_CHECKPOINTS,
  firmware: DEFAULT_FIRMWARE,
  tpm: false,
  comPorts: DEFAULT_COM_PORTS,
  scsiControllerCount: 1,
  dvdDrives: [],
  allowedParents: [],
};
