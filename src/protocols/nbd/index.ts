/**
 * nbd: serves disks to QEMU and other clients over Unix sockets, in the Network Block Device protocol.
 *
 *   DataPlane (caller's thread) --messages--> data-plane-thread: openVhd, NbdServer
 *   socket -> transport -> connection -> handshake, then transmission -> export -> BlockDevice (disk/)
 *
 * Must not import model, host, engines or formats; disk, system, errors and async are all that is below it.
 */
export { NbdReader } from './client.ts';
export { DataPlane, type DataPlaneOptions } from './data-plane.ts';
export type {
  AddExportOptions,
  AddedExport,
  BegunBackup,
  StartedMerge,
  StartMergeOptions,
} from './data-plane-messages.ts';
export type { ExportStats } from './export.ts';
export { type ServeDiskOptions, type ServedDisk, serveDisk } from './serve.ts';
export { type ListenOptions, NbdServer } from './server.ts';
