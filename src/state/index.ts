/**
 * state: what hv remembers between commands. HV_HOME holds definitions, settings and journals; HV_RUN what lives until
 * the host restarts. Files are replaced in one step (temporary file, fsync, rename, fsync of the folder) and checked
 * when they are read.
 *
 *   HV_HOME/vms/<id>/vm.json    definition, snapshots, pending work      HV_RUN/<short id>/runtime.json   processes, phase
 *   HV_HOME/events.ndjson       what commands did; each machine's own happenings lie in its data folder
 *
 * Must not import engines or disk.
 */

export {
  type PendingWork,
  parseDefinition,
  type SavedState,
  SCHEMA_VERSION,
  type SnapshotDefinition,
  type VmDefinition,
} from './definition.ts';
export { EventLog, EventReader } from './event-log.ts';
export {
  listMounts,
  type MountPaths,
  type MountRecord,
  mountPaths,
  readMountRecord,
  writeMountRecord,
} from './mount-record.ts';
export { type HeldOperation, type Operation, OperationJournal } from './operations.ts';
export {
  checkRunFolder,
  ensureFolder,
  ensureFolders,
  type HvPaths,
  resolvePaths,
  shortId,
  type VmPaths,
  vmPaths,
} from './paths.ts';
export {
  type LastExit,
  type RuntimeRecord,
  readLastExit,
  readRuntime,
  removeRuntime,
  writeLastExit,
  writeRuntime,
} from './runtime.ts';
export { readSettings, type StoredSettings, writeSettings } from './settings.ts';
export { specificationSchema } from './specification.ts';
export { VmStore } from './vm-store.ts';
