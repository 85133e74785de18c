import { throwIfAborted } from '../../../async/index.ts';
import { HvError, isHvError } from '../../../errors/index.ts';
import type { GuestExecOptions, GuestExecResult, GuestProfile } from '../../../model/index.ts';
import { FILE_PIECE_BYTES, type GuestAgent, GuestFile, MAX_OUTPUT_BYTES } from '../../../protocols/qga/index.ts';

/** In base64 still under the longest order that a worker takes. */
const MAX_INPUT_BYTES = 512 * 1024;
const MAX_WORDS_BYTES = 256 * 1024;
const KILL_TIMEOUT_MS = 5000;
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/**
 * Runs a program in the guest. The agent knows neither a working directory nor an environment that is added to its own,
 * and takes only so much input at once: a shell of the guest sets these up and then becomes the program.
 */
export async function runInGuest(
  agent: GuestAgent,
  guest: GuestProfile,
  program: string,
  args: readonly string[],
  options: GuestExecOptions & { readonly signal?: AbortSignal | undefined } = {},
): Promise<GuestExecResult> {
  const { environment = {}, workingDirectory, timeoutMs = Number.POSITIVE_INFINITY, signal } = options;
  let words: readonly string[] = [program, ...args];
  checkWords(words, environment, workingDirectory);
  const needsShell = workingDirectory !== undefined || Object.keys(environment).length > 0;
  if (needsShell && guest === 'windows') throw noShell('an environment or a working directory');
  if (Object.keys(environment).length > 0) {
    words = ['/usr/bin/env', ...Object.entries(environment).map(([name, value]) => `${name}=${value}`), ...words];
  }
  if (workingDirectory !== undefined) words = shell('cd -- "$0" && exec "$@"', workingDirectory, ...words);
  const input = await gatherInput(options.input, signal);
  if (input.rest) {
    if (guest === 'windows') throw noShell(`input of more than ${MAX_INPUT_BYTES} bytes`);
    const file = await storeInput(agent, input.start, input.rest, signal);
    words = shell('exec <"$0" && rm -f -- "$0" && exec "$@"', file, ...words);
  }
  const [path = '', ...rest] = words;
  let pid: number | undefined;
  try {
    const result = await agent.exec(path, rest, {
      ...(input.rest || input.start.length === 0 ? {} : { input: input.start }),
      maxOutputBytes: MAX_OUTPUT_BYTES,
      timeoutMs,
      signal,
      onStarted: (started) => {
        pid = started;
      },
    });
    return {
      exitCode: result.exitCode ?? null,
      signal: result.endSignal ?? null,
      stdout: result.output,
      stderr: result.errorOutput,
      truncated: result.isTruncated,
    };
  } catch (error) {
    if (pid === undefined || !(isHvError(error, 'timeout') || isHvError(error, 'aborted'))) throw error;
    const isKilled = guest === 'linux' && (await kill(agent, pid));
    throw new HvError(error.code, isKilled ? `${error.message}; it was killed` : error.message, {
      detail: { ...error.detail, pid, killed: isKilled },
      hint: isKilled ? 'Allow it more time: --timeout.' : `Process ${pid} may run on in the guest.`,
      cause: error,
    });
  }
}

/** The argument list of a shell that runs `script` with the rest as $0, $1 and so on. */
export function shell(script: string, ...args: readonly string[]): readonly string[] {
  return ['/bin/sh', '-c', script, ...args];
}

function checkWords(
  words: readonly string[],
  environment: Readonly<Record<string, string>>,
  workingDirectory: string | undefined,
): void {
  const refuse = (message: string, hint: string): never => {
    throw new HvError('invalid-argument', message, { hint });
  };
  if (words[0] === '') refuse('there is no program to run', 'Name one after --.');
  const all = [...words, ...Object.entries(environment).flat(), workingDirectory ?? ''];
  if (all.some((word) => word.includes('\0'))) refuse('an argument holds a NUL', 'Pass such bytes as input.');
  if (all.reduce((sum, word) => sum + Buffer.byteLength(word), 0) > MAX_WORDS_BYTES) {
    refuse(`the arguments are longer than ${MAX_WORDS_BYTES} bytes`, 'Pass what is long as input.');
  }
  const odd = Object.keys(environment).find((name) => !NAME.test(name));
  if (odd !== undefined) refuse(`${JSON.stringify(odd)} is not a variable's name`, 'Write NAME=value.');
  if (Object.keys(environment).length > 0 && words[0]?.includes('=')) {
    refuse('a program with = in its name cannot be given an environment', 'Run it through a shell.');
  }
  if (workingDirectory !== undefined && !workingDirectory.startsWith('/')) {
    refuse('the working directory is not absolute', 'Begin it with /.');
  }
}

function noShell(what: string): HvError {
  return new HvError('unsupported', `a Windows guest's agent cannot give a program ${what}`, {
    hint: 'Run it through cmd.exe /c or powershell.exe -Command.',
  });
}

interface GatheredInput {
  readonly start: Buffer;
  /** What comes after the start, when that is not all. */
  readonly rest: AsyncIterator<Uint8Array> | undefined;
}

async function gatherInput(input: GuestExecOptions['input'], signal: AbortSignal | undefined): Promise<GatheredInput> {
  if (input === undefined) return { start: Buffer.alloc(0), rest: undefined };
  const pieces = (input instanceof Uint8Array ? single(input) : input)[Symbol.asyncIterator]();
  const start: Uint8Array[] = [];
  let sizeBytes = 0;
  for (;;) {
    throwIfAborted(signal, 'reading the input');
    const next = await pieces.next();
    if (next.done) return { start: Buffer.concat(start), rest: undefined };
    start.push(next.value);
    sizeBytes += next.value.length;
    if (sizeBytes > MAX_INPUT_BYTES) return { start: Buffer.concat(start), rest: pieces };
  }
}

async function* single(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** Puts the input into a file of the guest that nobody else there reads. */
async function storeInput(
  agent: GuestAgent,
  start: Buffer,
  rest: AsyncIterator<Uint8Array>,
  signal: AbortSignal | undefined,
): Promise<string> {
  const [mktemp = '', ...args] = shell('umask 077 && mktemp /tmp/hv-input.XXXXXX');
  const made = await agent.exec(mktemp, args, { timeoutMs: 30_000, signal });
  const file = made.output.toString('utf8').trim();
  if (made.exitCode !== 0 || !/^\/tmp\/hv-input\.[A-Za-z0-9]+$/.test(file)) {
    throw new HvError('guest-failed', 'the guest could not make a file for the input');
  }
  try {
    await GuestFile.using(agent, file, 'w', { signal }, async (opened) => {
      for (let bytes: Uint8Array = start; ; ) {
        throwIfAborted(signal, 'sending the input');
        for (let at = 0; at < bytes.length; at += FILE_PIECE_BYTES) {
          await opened.write(bytes.subarray(at, at + FILE_PIECE_BYTES));
        }
        const next = await rest.next();
        if (next.done) break;
        bytes = next.value;
      }
      await opened.flush();
    });
  } catch (error) {
    await agent.exec('/bin/rm', ['-f', '--', file], { timeoutMs: KILL_TIMEOUT_MS }).catch(() => {}); // the first failure counts
    throw error;
  }
  return file;
}

/** Whether the program is gone. */
async function kill(agent: GuestAgent, pid: number): Promise<boolean> {
  try {
    const { exitCode } = await agent.exec('/bin/kill', ['-KILL', String(pid)], { timeoutMs: KILL_TIMEOUT_MS });
    return exitCode === 0;
  } catch {
    return false; // the agent hangs, or there is no such program
  }
}
