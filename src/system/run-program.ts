import { type ChildProcess, spawn } from 'node:child_process';
import { homedir } from 'node:os';
import { delimiter } from 'node:path';
import { abortedError } from '../async/index.ts';
import { fromSystemError, HvError } from '../errors/index.ts';
import { findProgram, programFolders, requireProgram } from './find-program.ts';

export interface ProgramLimits {
  /** Largest address space in bytes. */
  readonly addressSpaceBytes?: number;
  readonly cpuSeconds?: number;
  /** Largest file that it may write, in bytes. */
  readonly fileSizeBytes?: number;
}

export interface RunProgramOptions {
  /** After this long the whole process group is killed. */
  readonly deadlineMs: number;
  /** More standard output than this kills it. Default 1 MiB. */
  readonly maxOutputBytes?: number;
  /** Standard input; without it the program reads an empty one. */
  readonly input?: string | Uint8Array;
  readonly cwd?: string;
  /** Added to the minimal environment; `undefined` takes a variable out. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Kills the whole process group. */
  readonly signal?: AbortSignal | undefined;
  /** Exit codes that are no failure. Default [0]. */
  readonly okExitCodes?: readonly number[];
  /** Runs it as somebody else (root only), without supplementary groups. */
  readonly user?: { readonly uid: number; readonly gid: number };
  /** Descriptors that it inherits, as its own numbers 3, 4 and so on. They stay open here. */
  readonly descriptors?: readonly number[];
  /** Set through prlimit(1), where the host has it. */
  readonly limits?: ProgramLimits;
}

export interface ProgramResult {
  readonly stdout: Buffer;
  /** The last 64 KiB of standard error. */
  readonly stderr: string;
  readonly exitCode: number;
}

const DEFAULT_MAX_OUTPUT_BYTES = 2 ** 20;
const STDERR_TAIL_BYTES = 64 * 2 ** 10;
const STDERR_IN_ERROR_CHARS = 2000;
/** How long output may keep coming after the program itself has ended: a child of its own may hold the pipe. */
const DRAIN_MS = 1000;

/**
 * Runs a program to its end: arguments as a list, never a shell; a small environment of our own; a process group
 * that is killed as a whole at the deadline or on abort; bounded output.
 * @throws HvError `missing-dependency` (names the package), `process-failed` (detail: program, exitCode or signal,
 *   stderrTail; also when it writes too much), `timeout`, `aborted`, `permission-denied`
 */
export async function runProgram(
  program: string,
  args: readonly string[],
  options: RunProgramOptions,
): Promise<ProgramResult> {
  const path = await requireProgram(program);
  const prefix = options.limits === undefined ? undefined : await limitPrefix(options.limits);
  const [file, argv] = prefix === undefined ? [path, args] : [prefix.file, [...prefix.args, path, ...args]];
  if (options.signal?.aborted) throw abortedError(options.signal, `running ${program}`);
  return new Run(program, file, argv, options).result;
}

async function limitPrefix(limits: ProgramLimits): Promise<{ file: string; args: readonly string[] } | undefined> {
  const file = await findProgram('prlimit');
  if (file === undefined) return undefined;
  const args = ['--core=0'];
  if (limits.addressSpaceBytes !== undefined) args.push(`--as=${limits.addressSpaceBytes}`);
  if (limits.cpuSeconds !== undefined) args.push(`--cpu=${limits.cpuSeconds}`);
  if (limits.fileSizeBytes !== undefined) args.push(`--fsize=${limits.fileSizeBytes}`);
  return { file, args: [...args, '--'] };
}

/** The environment that programs get unless they are given more: nothing of the caller's leaks into them. */
export function minimalEnvironment(
  extra: Readonly<Record<string, string | undefined>> = {},
  otherUser = false,
): Record<string, string> {
  const all = {
    PATH: programFolders().join(delimiter),
    LANG: 'C.UTF-8',
    LC_ALL: 'C.UTF-8',
    HOME: otherUser ? '/nonexistent' : homedir(),
    ...extra,
  };
  return Object.fromEntries(
    Object.entries(all).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}

/** One run: the child, what it wrote, and the one reason for which it was killed. */
class Run {
  readonly result: Promise<ProgramResult>;
  readonly #program: string;
  readonly #options: RunProgramOptions;
  readonly #child: ChildProcess;
  readonly #stdout: Buffer[] = [];
  #stdoutBytes = 0;
  #stderr = Buffer.alloc(0);
  #killedFor: HvError | undefined;

  constructor(program: string, file: string, args: readonly string[], options: RunProgramOptions) {
    this.#program = program;
    this.#options = options;
    this.#child = spawn(file, [...args], {
      cwd: options.cwd,
      env: minimalEnvironment(options.env, options.user !== undefined),
      detached: true, // a process group of its own, so that it can be killed as a whole
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe', ...(options.descriptors ?? [])],
      ...(options.user === undefined ? {} : { uid: options.user.uid, gid: options.user.gid }),
    });
    this.result = new Promise((resolve, reject) => this.#watch(resolve, reject));
  }

  #watch(resolve: (result: ProgramResult) => void, reject: (error: unknown) => void): void {
    const child = this.#child;
    const { signal, deadlineMs } = this.#options;
    const timer = setTimeout(() => {
      this.#kill(
        new HvError('timeout', `${this.#program} took longer than ${deadlineMs} ms and was killed`, {
          detail: { program: this.#program, timeoutMs: deadlineMs },
        }),
      );
    }, deadlineMs);
    const onAbort = (): void => {
      if (signal) this.#kill(abortedError(signal, `running ${this.#program}`));
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    let drain: NodeJS.Timeout | undefined;
    const settle = (): void => {
      clearTimeout(timer);
      clearTimeout(drain);
      signal?.removeEventListener('abort', onAbort);
    };

    child.on('error', (error) => {
      settle();
      reject(fromSystemError(error, `could not run ${this.#program}`, { program: this.#program }));
    });
    child.on('exit', () => {
      // What it left behind in its group and still holds the pipe must not make us wait for ever.
      drain = setTimeout(() => {
        this.#killGroup();
        child.stdout?.destroy();
        child.stderr?.destroy();
      }, DRAIN_MS);
    });
    child.on('close', (exitCode, exitSignal) => {
      settle();
      try {
        resolve(this.#finish(exitCode, exitSignal));
      } catch (error) {
        reject(error);
      }
    });
    child.stdout?.on('data', (chunk: Buffer) => this.#onStdout(chunk));
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderr = Buffer.concat([this.#stderr, chunk]).subarray(-STDERR_TAIL_BYTES);
    });
    // A program that ends before it has read its input says so through its exit code.
    child.stdin?.on('error', () => {});
    if (this.#options.input !== undefined) child.stdin?.end(this.#options.input);
  }

  #onStdout(chunk: Buffer): void {
    const limit = this.#options.maxOutputBytes ?? DEFAULT_MAX_OUTPUT_BYTES;
    this.#stdoutBytes += chunk.length;
    if (this.#stdoutBytes <= limit) this.#stdout.push(chunk);
    else {
      this.#kill(
        new HvError('process-failed', `${this.#program} wrote more than ${limit} bytes and was killed`, {
          detail: { program: this.#program, maxOutputBytes: limit },
        }),
      );
    }
  }

  #kill(reason: HvError): void {
    this.#killedFor ??= reason;
    this.#killGroup();
  }

  #killGroup(): void {
    const { pid } = this.#child;
    if (pid === undefined) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // The group is gone already.
    }
  }

  #finish(exitCode: number | null, exitSignal: NodeJS.Signals | null): ProgramResult {
    if (this.#killedFor) throw this.#killedFor;
    const stderr = this.#stderr.toString('utf8');
    if (exitCode !== null && (this.#options.okExitCodes ?? [0]).includes(exitCode))
      return { stdout: Buffer.concat(this.#stdout), stderr, exitCode };
    // The text may end up on a terminal: a tool may quote what a hostile image holds.
    const stderrTail = stderr
      .slice(-STDERR_IN_ERROR_CHARS)
      .replace(/[^\n\t\P{C}]/gu, '?')
      .trim();
    const how = exitCode === null ? `was ended by ${exitSignal ?? 'a signal'}` : `failed with exit code ${exitCode}`;
    const lastLine = stderrTail.split('\n').at(-1) ?? '';
    throw new HvError('process-failed', `${this.#program} ${how}${lastLine === '' ? '' : `: ${lastLine}`}`, {
      detail: { program: this.#program, exitCode, signal: exitSignal, stderrTail },
    });
  }
}
