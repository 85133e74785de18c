import { connect } from 'node:net';
import { HvError } from '../../../errors/index.ts';
import { DEFAULT_SWITCH } from '../../../model/index.ts';
import type { VmDefinition } from '../../../state/index.ts';

const PORT = 22;
const TIMEOUT_MS = 3000;
/** RFC 4253, 4.2: the identification, within 255 characters. */
const GREETING = 'SSH-';

/** @throws HvError `unsupported` where no adapter has a way from this host to the guest */
export function requireRoute({ specification, id }: VmDefinition): void {
  const isReachable = specification.networkAdapters.some(
    ({ switchName }) => switchName !== null && switchName !== DEFAULT_SWITCH,
  );
  if (isReachable) return;
  throw new HvError('unsupported', `this host cannot reach the guest of "${specification.name}"`, {
    detail: { id, vm: specification.name },
    hint: `Behind the NAT of "${DEFAULT_SWITCH}" a guest is reached through its agent only: hv guest exec.`,
  });
}

/** Whether an SSH server greets at this address of a guest. */
export function isSshThere(address: string, port = PORT): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port, timeout: TIMEOUT_MS });
    const deadline = setTimeout(() => end(false), TIMEOUT_MS);
    let text = '';
    const end = (answer: boolean): void => {
      clearTimeout(deadline);
      socket.destroy();
      resolve(answer);
    };
    socket.setEncoding('latin1');
    socket.on('data', (chunk: string) => {
      text += chunk;
      if (text.length >= GREETING.length) end(text.startsWith(GREETING));
    });
    socket.on('error', () => end(false));
    socket.on('close', () => end(false));
  });
}
