import { connect, type Socket } from 'node:net';
import { throwIfAborted } from '../../async/index.ts';
import { fromSystemError } from '../../errors/index.ts';
import type { Streams } from '../definition.ts';
import { addedText } from '../output/added-text.ts';
import { terminalText } from '../output/terminal-text.ts';

/** Ctrl-] as a terminal sends it. */
const LEAVE = 0x1d;
/** DECSTR: colours, cursor and modes that a guest has left behind. */
const SOFT_RESET = '\u001b[!p';

export interface SessionOptions {
  readonly socketPath: string;
  readonly streams: Streams;
  readonly signal: AbortSignal;
  /** Standard input has ended: leave once the port was quiet for this long. */
  readonly quietMs: number;
  onConnected(): void;
  /** What the port said before, to be shown first. It may hold the beginning of what comes over the connection as well. */
  backlog?(): Promise<string>;
}

/** How a session ended: the user left, the machine closed the port, or the input was over. */
export type SessionEnd = 'left' | 'closed' | 'input-ended';

/** Joins standard input and output with a serial port until one of them ends. The terminal is always restored. */
export async function serialSession(options: SessionOptions): Promise<SessionEnd> {
  const { streams, signal } = options;
  const { stdin, stdout } = streams;
  const socket = await connected(options.socketPath);
  options.onConnected();
  const isTerminal = stdin.isTTY === true;
  const restore = (): void => {
    if (!isTerminal) return;
    stdin.setRawMode(false);
    if (stdout.isTTY) stdout.write(SOFT_RESET);
  };
  if (isTerminal) stdin.setRawMode(true);
  // The one way out that passes no `finally`: a second Ctrl-C or a broken pipe ends the process at once.
  process.once('exit', restore);
  try {
    if (options.backlog) await showBacklog(socket, options.backlog, stdout);
    const end = await joined(socket, options, isTerminal);
    throwIfAborted(signal, 'the console');
    return end;
  } finally {
    process.off('exit', restore);
    restore();
    stdin.pause();
    socket.destroy();
  }
}

function connected(socketPath: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    socket.once('error', (error) =>
      reject(fromSystemError(error, 'cannot reach the serial port', { path: socketPath })),
    );
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      resolve(socket);
    });
  });
}

/** The end of the log, then what came over the connection meanwhile and is not in the log yet. */
async function showBacklog(socket: Socket, backlog: () => Promise<string>, stdout: NodeJS.WriteStream): Promise<void> {
  const meanwhile: Buffer[] = [];
  const keep = (chunk: Buffer): void => void meanwhile.push(chunk);
  socket.on('data', keep);
  try {
    const before = await backlog();
    const shown = stdout.isTTY ? terminalText(before).replaceAll('\n', '\r\n') : before;
    stdout.write(shown);
    socket.pause();
    stdout.write(addedText(before, Buffer.concat(meanwhile).toString('utf8')));
  } finally {
    socket.off('data', keep);
  }
}

function joined(
  socket: Socket,
  { streams, signal, quietMs }: SessionOptions,
  isTerminal: boolean,
): Promise<SessionEnd> {
  const { stdin, stdout } = streams;
  return new Promise((resolve) => {
    let quiet: NodeJS.Timeout | undefined;
    const end = (reason: SessionEnd): void => {
      clearTimeout(quiet);
      stdin.off('data', onInput);
      stdin.off('end', onInputEnd);
      signal.removeEventListener('abort', onAbort);
      resolve(reason);
    };
    const onAbort = (): void => end('left');
    const onInput = (chunk: Buffer): void => {
      const leaveAt = isTerminal ? chunk.indexOf(LEAVE) : -1;
      const sent = leaveAt === -1 ? chunk : chunk.subarray(0, leaveAt);
      if (sent.length > 0 && !socket.write(sent)) stdin.pause();
      if (leaveAt !== -1) end('left');
    };
    const waitForQuiet = (): void => {
      clearTimeout(quiet);
      quiet = setTimeout(() => end('input-ended'), quietMs);
    };
    const onInputEnd = (): void => {
      waitForQuiet();
      socket.on('data', waitForQuiet);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    socket.on('drain', () => stdin.resume());
    socket.on('error', () => end('closed'));
    socket.on('close', () => end('closed'));
    socket.pipe(stdout, { end: false });
    stdin.on('data', onInput);
    stdin.on('end', onInputEnd);
    stdin.resume();
    if (signal.aborted) end('left');
    else if (stdin.readableEnded) onInputEnd();
  });
}
