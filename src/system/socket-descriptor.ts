import type { Socket } from 'node:net';

/**
 * A connected socket's descriptor; undefined once it is closed. Node offers no public way to it; the handle has carried
 * it since the first versions.
 */
export function descriptorOf(socket: Socket): number | undefined {
  const handle = (socket as unknown as { _handle?: { fd?: number } | null })._handle;
  const fd = handle?.fd;
  return typeof fd === 'number' && fd >= 0 ? fd : undefined;
}
