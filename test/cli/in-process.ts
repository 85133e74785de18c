import { PassThrough, Writable } from 'node:stream';
import { runCommandLine } from '../../src/cli/run.ts';
import { HyperVFacade } from '../../src/facade/index.ts';
import type { HostDouble } from './host-double.ts';

export interface RunOptions {
  readonly double: HostDouble;
  /** Standard output and error are terminals, and so is input. */
  readonly terminal?: boolean;
  readonly input?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal;
}

export interface Ran {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command line in this process on the double. */
export async function run(words: readonly string[], options: RunOptions): Promise<Ran> {
  const stdout = new Sink(options.terminal === true);
  const stderr = new Sink(options.terminal === true);
  const stdin = Object.assign(new PassThrough(), { isTTY: options.terminal === true, setRawMode: () => stdin });
  if (options.input !== undefined) stdin.end(options.input);
  // Enough of a process's streams for a command line: the casts say what the doubles stand for.
  const status = await runCommandLine(words, {
    stdin: stdin as unknown as NodeJS.ReadStream,
    stdout: stdout as unknown as NodeJS.WriteStream,
    stderr: stderr as unknown as NodeJS.WriteStream,
    env: options.env ?? { NO_COLOR: '1' },
    signal: options.signal ?? new AbortController().signal,
    version: () => '9.9.9',
    openHyperV: async () => new HyperVFacade(options.double.host),
  });
  return { status, stdout: stdout.text, stderr: stderr.text };
}

class Sink extends Writable {
  readonly isTTY: boolean;
  readonly columns = 120;
  text = '';

  constructor(isTTY: boolean) {
    super();
    this.isTTY = isTTY;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.text += chunk.toString('utf8');
    done();
  }
}
