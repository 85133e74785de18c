import { randomBytes } from 'node:crypto';
import { posix } from 'node:path';
import { HvError, isHvError } from '../../../errors/index.ts';
import { type GuestAgent, GuestFile, printableGuestText } from '../../../protocols/qga/index.ts';
import { shell } from './exec.ts';

/** How files of a guest are made ready, checked, put in place and removed around the moving of their bytes. */
export interface GuestPlace {
  /** The path that a copy will have: in a folder, the source's name. @throws HvError `already-exists`, `not-found`, `invalid-argument` */
  chooseTarget(path: string, name: string, force: boolean): Promise<string>;
  /** Makes the file that is written to. */
  begin(path: string): Promise<string>;
  finish(part: string, path: string, mode: number): Promise<void>;
  /** Leaves nothing behind, as far as the guest lets it. Never fails. */
  abandon(part: string): Promise<void>;
  /** Undefined: not known before it is read. @throws HvError `not-found`, `invalid-argument` */
  sizeOf(path: string): Promise<number | undefined>;
  /** In hex; undefined: the guest cannot say. */
  hashOf(path: string): Promise<string | undefined>;
}

const PROGRAM_TIMEOUT_MS = 30_000;
const HASH_TIMEOUT_MS = 600_000;
const CLEANUP_TIMEOUT_MS = 10_000;
const COMMAND_NOT_FOUND = 127;

/** With the guest's own shell, sha256sum, mv, chmod and rm. */
export class PosixPlace implements GuestPlace {
  readonly #agent: GuestAgent;
  readonly #signal: AbortSignal | undefined;

  constructor(agent: GuestAgent, signal: AbortSignal | undefined) {
    this.#agent = agent;
    this.#signal = signal;
  }

  async chooseTarget(wanted: string, name: string, force: boolean): Promise<string> {
    let path = wanted;
    let kind = await this.#kindOf(path);
    if (kind === 'folder') {
      path = posix.join(wanted, name);
      kind = await this.#kindOf(path);
    }
    switch (kind) {
      case 'file':
        if (force) return path;
        throw new HvError('already-exists', `${path} exists already in the guest`, {
          detail: { path },
          hint: 'Use --force.',
        });
      case 'none':
        if (!path.endsWith('/')) return path;
        throw noFolder(path);
      case 'no-folder':
        throw noFolder(posix.dirname(path));
      case 'folder':
      case 'other':
        throw notAFile(path);
      default:
        return kind satisfies never;
    }
  }

  /** In the target's folder, readable by nobody else, under a name that nothing else has. */
  async begin(path: string): Promise<string> {
    const part = posix.join(posix.dirname(path), `.hv-${randomBytes(6).toString('hex')}.part`);
    await this.#done(`cannot write to ${posix.dirname(path)} in the guest`, 'umask 077; set -C; : >"$0"', part);
    return part;
  }

  async finish(part: string, path: string, mode: number): Promise<void> {
    const bits = (mode & 0o777).toString(8).padStart(4, '0');
    await this.#done(`cannot write ${path} in the guest`, 'chmod "$2" "$0" && mv -f -- "$0" "$1"', part, path, bits);
  }

  async abandon(part: string): Promise<void> {
    const [program = '', ...args] = shell('rm -f -- "$0"', part);
    await this.#agent.exec(program, args, { timeoutMs: CLEANUP_TIMEOUT_MS }).catch(() => {}); // the first failure is told
  }

  async sizeOf(path: string): Promise<number> {
    const kind = await this.#kindOf(path);
    if (kind === 'none' || kind === 'no-folder') {
      throw new HvError('not-found', `${path} does not exist in the guest`, { detail: { path } });
    }
    if (kind !== 'file') throw notAFile(path);
    const size = await this.#done(`cannot read ${path} in the guest`, 'wc -c <"$0"', path);
    if (!/^\d{1,15}$/.test(size)) throw new HvError('protocol', `the guest does not say how large ${path} is`);
    return Number(size);
  }

  async hashOf(path: string): Promise<string | undefined> {
    const { exitCode, output } = await this.#run('sha256sum <"$0"', [path], HASH_TIMEOUT_MS);
    if (exitCode === COMMAND_NOT_FOUND) return undefined;
    return /^[0-9a-f]{64}(?=\s)/.exec(output)?.[0] ?? '';
  }

  async #kindOf(path: string): Promise<'folder' | 'file' | 'other' | 'none' | 'no-folder'> {
    const script =
      'if [ -d "$0" ]; then echo folder; elif [ -f "$0" ]; then echo file; elif [ -e "$0" ]; then echo other; ' +
      'elif [ -d "$1" ]; then echo none; else echo no-folder; fi';
    const kind = await this.#done(`cannot look at ${path} in the guest`, script, path, posix.dirname(path));
    switch (kind) {
      case 'folder':
      case 'file':
      case 'other':
      case 'none':
      case 'no-folder':
        return kind;
      default:
        throw new HvError('protocol', `the guest does not say what ${path} is`);
    }
  }

  /** What the script prints. @throws HvError `guest-failed` when it fails */
  async #done(failure: string, script: string, ...args: readonly string[]): Promise<string> {
    const { exitCode, output, complaint } = await this.#run(script, args, PROGRAM_TIMEOUT_MS);
    if (exitCode === 0) return output;
    throw new HvError('guest-failed', failure, { detail: { exitCode: exitCode ?? null, stderr: complaint } });
  }

  async #run(
    script: string,
    words: readonly string[],
    timeoutMs: number,
  ): Promise<{ readonly exitCode: number | undefined; readonly output: string; readonly complaint: string }> {
    const [program = '', ...args] = shell(script, ...words);
    const ended = await this.#agent.exec(program, args, { timeoutMs, signal: this.#signal });
    return {
      exitCode: ended.exitCode,
      output: ended.output.toString('utf8').trim(),
      complaint: printableGuestText(ended.errorOutput.toString('utf8')),
    };
  }
}

/**
 * With nothing but the agent's own file commands: for a guest whose agent may run no programs, and for Windows. A file
 * that was begun cannot be removed, so it is emptied.
 */
export class PlainPlace implements GuestPlace {
  readonly #agent: GuestAgent;
  readonly #signal: AbortSignal | undefined;

  constructor(agent: GuestAgent, signal: AbortSignal | undefined) {
    this.#agent = agent;
    this.#signal = signal;
  }

  async chooseTarget(path: string, _name: string, force: boolean): Promise<string> {
    if (force) return path;
    try {
      await GuestFile.using(this.#agent, path, 'r', { signal: this.#signal }, async () => {});
    } catch (error) {
      if (isHvError(error, 'guest-failed')) return path; // what cannot be opened for reading is made, or fails
      throw error;
    }
    throw new HvError('already-exists', `${path} exists already in the guest`, {
      detail: { path },
      hint: 'Use --force.',
    });
  }

  async begin(path: string): Promise<string> {
    return path;
  }

  async finish(): Promise<void> {}

  async abandon(part: string): Promise<void> {
    const options = { timeoutMs: CLEANUP_TIMEOUT_MS };
    await GuestFile.using(this.#agent, part, 'w', options, async () => {}).catch(() => {}); // the first failure is told
  }

  async sizeOf(): Promise<undefined> {
    return undefined;
  }

  async hashOf(): Promise<undefined> {
    return undefined;
  }
}

function noFolder(path: string): HvError {
  return new HvError('not-found', `there is no folder ${path} in the guest`, { detail: { path } });
}

function notAFile(path: string): HvError {
  return new HvError('invalid-argument', `${path} in the guest is not a file`, {
    detail: { path },
    hint: 'Only files are copied; run tar in the guest for a folder: hv guest exec.',
  });
}
