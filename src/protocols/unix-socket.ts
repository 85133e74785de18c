import { connect as netConnect, type Socket } from 'node:net';
import { abortedError, sleep, throwIfAborted } from '../async/index.ts';
import { fromSystemError, HvError, isSystemError } from '../errors/index.ts';

/** All that sockaddr_un has on Linux, less the terminating zero (unix(7)). */
const MAX_SOCKET_PATH_BYTES = 107;

/** @throws HvError `invalid-argument` when the path does not fit into a socket address */
export function checkSocketPath(socketPath: string): void {
  const pathBytes = Buffer.byteLength(socketPath);
  if (pathBytes === 0 || pathBytes > MAX_SOCKET_PATH_BYTES || socketPath.includes('\0')) {
    throw new HvError('invalid-argument', `a socket path must have 1 to ${MAX_SOCKET_PATH_BYTES} bytes`, {
      detail: { socketPath, pathBytes },
      hint: 'Point HV_RUN at a folder with a shorter name.',
    });
  }
}

export interface ConnectSocketOptions {
  /** Keeps trying this long while the socket is absent or refuses: its server may be starting. Default 0. */
  readonly waitForSocketMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const RETRY_INTERVAL_MS = 5;

/**
 * Connects to a unix socket.
 *
 * @throws HvError `not-found`, `io` (refused), `permission-denied`, `invalid-argument`, `aborted`
 */
export async function connectUnixSocket(socketPath: string, options: ConnectSocketOptions = {}): Promise<Socket> {
  const { waitForSocketMs = 0, signal } = options;
  checkSocketPath(socketPath);
  throwIfAborted(signal, `connecting to ${socketPath}`);
  const deadline = performance.now() + waitForSocketMs;
  for (;;) {
    try {
      return await connectOnce(socketPath, signal);
    } catch (error) {
      const mayCome = isSystemError(error, 'ENOENT', 'ECONNREFUSED', 'EAGAIN') && performance.now() < deadline;
      if (!mayCome) throw fromSystemError(error, `connecting to ${socketPath}`, { socketPath });
    }
    await sleep(RETRY_INTERVAL_MS, { signal });
  }
}

function connectOnce(socketPath: string, signal: AbortSignal | undefined): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = netConnect({ path: socketPath });
    const settle = (): void => {
      socket.off('connect', onConnect);
      socket.off('error', onError);
      signal?.removeEventListener('abort', onAbort);
    };
    const onConnect = (): void => {
      settle();
      resolve(socket);
    };
    const onError = (error: Error): void => {
      settle();
      reject(error);
    };
    const onAbort = (): void => {
      settle();
      socket.on('error', () => {}); // the outcome of an abandoned attempt interests nobody
      socket.destroy();
      if (signal) reject(abortedError(signal, `connecting to ${socketPath}`));
    };
    socket.on('connect', onConnect);
    socket.on('error', onError);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
