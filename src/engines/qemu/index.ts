/**
 * engines/qemu: the Host contract on Linux. Real machines in QEMU, on disks that hv serves itself.
 *
 *   command: QemuHost -> services -> vm.json (state/)
 *                          |  control sockets
 *              keeper (one a home) -> worker (one a machine) -> QEMU
 *                                       |  disks over NBD: protocols/nbd on a thread, disk/, formats/
 *
 * Machines outlive commands, the keeper and the worker. Must not import the facade or another engine.
 */
import type { Host } from '../../host/index.ts';
import { QemuHost } from './host.ts';

export function openQemuHost(options: { readonly home?: string } = {}): Promise<Host> {
  return QemuHost.open(options);
}
