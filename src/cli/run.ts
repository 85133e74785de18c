import { isHvError } from '../errors/index.ts';
import type { HyperVFacade } from '../facade/index.ts';
import type { CommandContext, Streams } from './definition.ts';
import { EXIT, exitStatusOf } from './exit-status.ts';
import { asHvError, showError } from './output/errors.ts';
import { Output } from './output/output.ts';
import { type ProgressBar, progressBar } from './output/progress-bar.ts';
import { type Parsed, parseCommandLine } from './parser.ts';

/** Where a command line runs: the process, or a test's own streams and host. */
export interface Environment extends Streams {
  readonly env: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
  openHyperV(options: { readonly home?: string }): Promise<HyperVFacade>;
  version(): string;
}

/** Runs one command line to its exit status; everything that goes wrong is told on standard error. */
export async function runCommandLine(words: readonly string[], environment: Environment): Promise<number> {
  // An error may come before the options are read; what is asked for must hold for it, too.
  const beforeValues = words.slice(0, words.includes('--') ? words.indexOf('--') : words.length);
  const json = beforeValues.includes('--json');
  let failureStatus: number | undefined;
  try {
    const parsed = await parseCommandLine(words, (command) => {
      failureStatus = command.failureStatus;
    });
    switch (parsed.kind) {
      case 'help':
        (parsed.wrongUsage ? environment.stderr : environment.stdout).write(parsed.text);
        return parsed.wrongUsage ? EXIT.usage : EXIT.done;
      case 'version':
        environment.stdout.write(`${environment.version()}\n`);
        return EXIT.done;
      case 'run':
        return await runCommand(parsed, environment);
      default:
        return parsed satisfies never;
    }
  } catch (error) {
    const failure = asHvError(error);
    environment.stderr.write(showError(failure, { json, debug: Boolean(environment.env.HV_DEBUG) }));
    return failureStatus ?? exitStatusOf(failure.code);
  }
}

async function runCommand(parsed: Parsed & { readonly kind: 'run' }, environment: Environment): Promise<number> {
  const { stdin, stdout, stderr, env, signal } = environment;
  const { definition, global, args, options } = parsed;
  let hyperV: Promise<HyperVFacade> | undefined;
  const bars: ProgressBar[] = [];
  const stopBars = (): void => {
    for (const bar of bars.splice(0)) bar.stop();
  };
  const { json, quiet } = global;
  const output = new Output({ stdout, stderr, env, json, quiet, beforePrinting: stopBars });

  const context: CommandContext = {
    args,
    options,
    global,
    output,
    streams: { stdin, stdout, stderr },
    signal,
    open() {
      hyperV ??= environment.openHyperV(global.home === undefined ? {} : { home: global.home });
      return hyperV;
    },
    async disks() {
      try {
        return (await context.open()).host.disks;
      } catch (error) {
        if (!isHvError(error, 'unsupported')) throw error;
        const { FileDisks } = await import('../disk/index.ts');
        return new FileDisks();
      }
    },
    long(label) {
      if (global.quiet || stderr.isTTY !== true) return { signal };
      const bar = progressBar(label, stderr);
      bars.push(bar);
      return { signal, onProgress: bar.onProgress };
    },
    wouldDo(text, facts = {}) {
      output.done({ dryRun: true, command: definition.name, would: text, ...facts }, `Would ${text}.`);
      return undefined;
    },
  };
  try {
    return (await definition.run(context)) ?? EXIT.done;
  } finally {
    stopBars();
    const opened = await hyperV?.catch(() => undefined);
    await opened?.close();
  }
}
