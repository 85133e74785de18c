/**
 * qmp: the client of QEMU's monitor.
 *
 *   unix socket -> JsonLineChannel (bounded lines, back pressure) -> wire (shapes) -> QmpClient
 *                                                              answers by id -+-> execute()
 *                                                                     events -+-> onEvent, waitForEvent, events
 *   ops: one function a command that hv uses; migration: saving and restoring a guest's state
 *
 * QEMU counts as hostile. This room holds no policy about virtual machines and must not import model, host or engines.
 */
export {
  encodeJsonLine,
  JsonLineChannel,
  type JsonLineChannelOptions,
  JsonLineDecoder,
  type JsonLineLimits,
  type JsonObject,
} from '../json-lines.ts';
export { type ConnectSocketOptions, checkSocketPath, connectUnixSocket } from '../unix-socket.ts';
export {
  closeTray,
  type IoThrottle,
  insertMedium,
  openTray,
  type QemuBlockDevice,
  qomGet,
  qomList,
  queryBlockDevices,
  queryBlockTraffic,
  queryNodeNames,
  removeMedium,
  setIoThrottle,
} from './block-ops.ts';
export {
  cancelMigration,
  MIGRATION_STATES,
  type MigrateOptions,
  type MigrationState,
  type MigrationStatus,
  migrateIncoming,
  migrateToUnixSocket,
  queryMigrate,
  returnToPaused,
  waitIncoming,
  waitPostmigrate,
} from './migration.ts';
export {
  type MigrationSink,
  type ReceiveMigrationOptions,
  receiveMigration,
  restoreFromFile,
  saveToFile,
  sendMigration,
} from './migration-stream.ts';
export {
  blockdevAdd,
  blockdevDelete,
  blockdevReopen,
  blockResize,
  cont,
  deviceAdd,
  deviceDelete,
  isChardevOpen,
  QEMU_RUN_STATES,
  type QemuCpu,
  type QemuRunState,
  type QemuStatus,
  qomSet,
  queryBalloon,
  queryCpus,
  queryName,
  queryStatus,
  quit,
  screendumpPng,
  sendKey,
  setBalloon,
  setLink,
  stop,
  systemPowerdown,
  systemReset,
} from './ops.ts';
export { type QmpCallOptions, QmpClient, type QmpConnectOptions, type QmpListener } from './qmp-client.ts';
export type { QmpEvent, QmpVersion } from './wire.ts';
