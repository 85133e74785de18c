/**
 * model: the nouns. What a virtual machine, its devices, states, snapshots and its host are, as plain data, with the
 * rules that hold on every engine: legal names, legal sizes, legal moves between states. No I/O. Imports errors only.
 */
export {
  AUTOMATIC_START_ACTIONS,
  AUTOMATIC_STOP_ACTIONS,
  type AutomaticActions,
  type AutomaticStartAction,
  type AutomaticStopAction,
  DEFAULT_AUTOMATIC_ACTIONS,
} from './automatic-actions.ts';
export { DEFAULT_SETTINGS } from './default-settings.ts';
export {
  chooseAddress,
  type DriveKind,
  driveAt,
  isAt,
  SCSI_LOCATIONS,
  showAddress,
  type WantedAddress,
} from './drive-addresses.ts';
export {
  type ControllerType,
  type DriveAddress,
  type DvdDrive,
  type HardDiskDrive,
  MAX_SCSI_CONTROLLERS,
  NO_QOS,
  type StorageQos,
} from './drives.ts';
export { DEFAULT_MEMORY_BUFFER_PERCENT, DEFAULT_MEMORY_PRIORITY, type DynamicMemory } from './dynamic-memory.ts';
export type {
  EventQuery,
  HostEvent,
  HostEventKind,
  OperationFacts,
  OperationInfo,
  Traffic,
  VmMeasurement,
} from './event.ts';
export {
  type BootDevice,
  CONSOLE_MODES,
  type ComPort,
  type ConsoleMode,
  DEFAULT_COM_PORTS,
  DEFAULT_FIRMWARE,
  type FirmwareSettings,
  SECURE_BOOT_TEMPLATES,
  type SecureBootTemplate,
} from './firmware.ts';
export type {
  GuestCapabilities,
  GuestCopyOptions,
  GuestCopyResult,
  GuestExecOptions,
  GuestExecResult,
  GuestFileSystem,
  GuestInfo,
  KeyValuePair,
} from './guest.ts';
export type { DoctorFinding, HostInfo, HostSettings } from './host-info.ts';
export { isPairKey, MAX_PAIRS, MAX_VALUE_BYTES, validKey, validPair } from './key-value-pairs.ts';
export { KEYS, type Key, MAX_TYPED_CHARACTERS, parseKeys, typedKeys } from './keyboard.ts';
export { MAX_NAME_LENGTH, nameKey, validName } from './names.ts';
export { DEFAULT_PROCESSOR, type ProcessorSettings } from './processor-settings.ts';
export {
  CHECKPOINT_TYPES,
  type CheckpointSettings,
  type CheckpointType,
  DEFAULT_CHECKPOINTS,
  type SnapshotInfo,
  type SnapshotType,
} from './snapshot.ts';
export { validQos } from './storage-qos.ts';
export type { SwitchInfo, SwitchType } from './switch.ts';
export { type VmInfo, type VmSummary, WAIT_CONDITIONS, type WaitCondition } from './vm-info.ts';
export { type VmSettings, withSettings } from './vm-settings.ts';
export {
  type CreateVmOptions,
  DEFAULT_MEMORY_BYTES,
  DEFAULT_MMIO,
  DEFAULT_PROCESSORS,
  DEFAULT_SWITCH,
  type GuestProfile,
  MAX_MEMORY_BYTES,
  MAX_PROCESSORS,
  MIN_MEMORY_BYTES,
  type MmioSettings,
  type NetworkAdapter,
  type VmGeneration,
  type VmSpecification,
  validCreateOptions,
} from './vm-specification.ts';
export { judgeMove, VM_ACTIONS, VM_STATES, type VmAction, type VmState } from './vm-state.ts';
