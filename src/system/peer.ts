import type { Socket } from 'node:net';
import { HvError } from '../errors/index.ts';
import { nativeError, nativeLibc } from '../native/index.ts';
import { descriptorOf } from './socket-descriptor.ts';

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * Who connected to our unix socket, as the kernel noted it at connect(2) (unix(7), SO_PEERCRED).
 * @returns undefined where there is no FFI: then the socket's folder (mode 0700) is what keeps others away
 * @throws HvError `io` for a socket that is closed or no unix socket
 */
export function peerCredentials(socket: Socket): PeerCredentials | undefined {
  const libc = nativeLibc();
  if (!libc) return undefined;
  const fd = descriptorOf(socket);
  if (fd === undefined) throw new HvError('io', 'the connection is closed');
  const result = libc.peerCredentials(fd);
  if (typeof result === 'number') throw nativeError('getsockopt', -result, 'could not tell who connected');
  return result;
}

/**
 * Refuses a peer that is neither the given user (by default our own) nor root.
 * @returns the credentials, or undefined where they cannot be told (see peerCredentials)
 * @throws HvError `permission-denied`, `io`
 */
export function requirePeer(socket: Socket, uid: number = process.getuid?.() ?? 0): PeerCredentials | undefined {
  const peer = peerCredentials(socket);
  if (peer === undefined || peer.uid === uid || peer.uid === 0) return peer;
  throw new HvError('permission-denied', `user ${peer.uid} (process ${peer.pid}) may not connect here`, {
    detail: { pid: peer.pid, uid: peer.uid },
  });
}
