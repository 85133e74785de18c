/**
 * model: the nouns. What a virtual machine, its devices, states, snapshots and its host are, as plain data, with the
 * rules that hold on every engine: legal names, legal sizes, legal moves between states. No I/O. Imports errors only.
 */
export type { DoctorFinding, HostInfo, HostSettings } from './host-info.ts';
export { MAX_NAME_LENGTH, nameKey, validName } from './names.ts';
export type { SnapshotInfo, SnapshotType } from './snapshot.ts';
export type { SwitchInfo, SwitchType } from './switch.ts';
export type { VmInfo, VmSummary, WaitCondition } from './vm-info.ts';
export {
  type ControllerType,
  type CreateVmOptions,
  DEFAULT_MEMORY_BYTES,
  DEFAULT_PROCESSORS,
  DEFAULT_SWITCH,
  type GuestProfile,
  type HardDiskDrive,
  MAX_MEMORY_BYTES,
  MAX_PROCESSORS,
  MIN_MEMORY_BYTES,
  type NetworkAdapter,
  type VmGeneration,
  type VmSpecification,
  validCreateOptions,
} from './vm-specification.ts';
export { judgeMove, VM_ACTIONS, VM_STATES, type VmAction, type VmState } from './vm-state.ts';
