import { readFileSync } from 'node:fs';
import { EXIT } from './exit-status.ts';
import { listenForInterrupts } from './interrupt.ts';
import { runCommandLine } from './run.ts';

/** Runs the command line of this process and ends it with its status. */
export async function main(words: readonly string[]): Promise<void> {
  // Read by libuv with the first file operation: what a disk has not in memory is read by many threads at once.
  process.env.UV_THREADPOOL_SIZE ??= '16';
  const { stdin, stdout, stderr, env } = process;
  // Whoever reads our output may stop reading (`hv vm list | head -1`): that is no failure.
  for (const stream of [stdout, stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) =>
      process.exit(error.code === 'EPIPE' ? EXIT.done : EXIT.failed),
    );
  }
  const interrupts = listenForInterrupts(stderr);
  const status = await runCommandLine(words, {
    stdin,
    stdout,
    stderr,
    env,
    signal: interrupts.signal,
    version: () => {
      const manifest: { readonly version: string } = JSON.parse(
        readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
      );
      return manifest.version;
    },
    openHyperV: async (options) => {
      const { HyperV } = await import('../compose.ts');
      return HyperV.open(options);
    },
  });
  await Promise.all([written(stdout), written(stderr)]);
  // A command that was told to stop may have ended well first: its own status holds then.
  process.exit(status);
}

function written(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed || !stream.writable) resolve();
    else stream.write('', () => resolve());
  });
}
