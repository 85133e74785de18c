/**
 * nbd: serves block devices to QEMU and other clients over Unix sockets, in the Network Block Device protocol.
 *
 *   socket -> transport -> connection -> handshake -> transmission -> export -> BlockDevice (disk/)
 *
 * Must not import model, host, engines or formats. Only disk, system, errors and async are below it.
 */
export type { ExportStats } from './export.ts';
export { type ListenOptions, NbdServer } from './server.ts';
