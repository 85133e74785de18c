import type { LongOptions } from '../async/index.ts';
import type { DiskService, HyperVFacade } from '../facade/index.ts';
import type { Output } from './output/output.ts';
import { parsePath } from './values/path.ts';

/** What one verb is: everything that help, parsing and running need. One per file, in commands/<noun>/<verb>.ts. */
export interface CommandDefinition<A extends ArgumentSpecs = ArgumentSpecs, O extends OptionSpecs = OptionSpecs> {
  /** As it is typed: `vm create`. */
  readonly name: string;
  readonly summary: string;
  /** More for --help than the summary says. */
  readonly description?: string;
  /** In the order in which they are typed; all are needed, but the last may be a list. */
  readonly arguments?: A;
  /** Keys are the long flags in camelCase. */
  readonly options?: O;
  /** Without the leading `hv `; at least one. */
  readonly examples: readonly string[];
  /** The status of hv's own failures, where the command passes on the status of another program. */
  readonly failureStatus?: number;
  /** It changes something, so that it has --dry-run. */
  readonly changes: boolean;
  run(context: CommandContext<A, O>): Promise<number | undefined>;
}

export interface ArgumentSpec<T> {
  readonly summary: string;
  /** It takes all the words that are left, none too. */
  readonly repeats?: boolean;
  parse(...words: readonly string[]): T;
}
export type ArgumentSpecs = Readonly<Record<string, ArgumentSpec<unknown>>>;

export interface OptionSpec<T> {
  /** As in help: `--memory <size>`, `-o, --output <file>`. */
  readonly flags: string;
  readonly summary: string;
  /** The second spelling that switches the option off. */
  readonly negation?: { readonly flags: string; readonly summary: string };
  readonly repeats?: boolean;
  /** From what the parser found: a text, a list of them, true, false for the negation, or undefined when absent. */
  read(raw: unknown): T;
}
export type OptionSpecs = Readonly<Record<string, OptionSpec<unknown>>>;

type ArgumentValues<A extends ArgumentSpecs> = {
  readonly [K in keyof A]: A[K] extends ArgumentSpec<infer T> ? T : never;
};
type OptionValues<O extends OptionSpecs> = { readonly [K in keyof O]: O[K] extends OptionSpec<infer T> ? T : never };

/** Options that every command has. */
export interface GlobalOptions {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly home: string | undefined;
  /** Only where the command changes something. */
  readonly dryRun: boolean;
}

export interface Streams {
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
}

export interface CommandContext<A extends ArgumentSpecs = ArgumentSpecs, O extends OptionSpecs = OptionSpecs> {
  readonly args: ArgumentValues<A>;
  readonly options: OptionValues<O>;
  readonly global: GlobalOptions;
  readonly output: Output;
  readonly streams: Streams;
  /** Fires on Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal;
  /** The host, opened at the first call and closed when the command is over. */
  open(): Promise<HyperVFacade>;
  /** The virtual disks of the host; where no machines can be run, of the plain files. Opens the host. */
  disks(): Promise<DiskService>;
  /** Signal and progress bar for long work. */
  long(label: string): LongOptions;
  /**
   * Ends a dry run: prints what the command would do.
   * @param facts what --json adds
   */
  wouldDo(text: string, facts?: Readonly<Record<string, unknown>>): undefined;
}

/** Gives the definition its types; adds nothing. */
export function defineCommand<A extends ArgumentSpecs, O extends OptionSpecs>(
  definition: CommandDefinition<A, O>,
): CommandDefinition<A, O> {
  return definition;
}

export function argument(summary: string): ArgumentSpec<string>;
export function argument<T>(summary: string, parse: (text: string) => T): ArgumentSpec<T>;
export function argument(summary: string, parse: (text: string) => unknown = (text) => text): ArgumentSpec<unknown> {
  return { summary, parse: (text = '') => parse(text) };
}

/** All the words that are left. */
export function argumentList(summary: string): ArgumentSpec<readonly string[]> {
  return { summary, repeats: true, parse: (...words) => words };
}

/** Present or not. */
export function flag(flags: string, summary: string): OptionSpec<boolean> {
  return { flags, summary, read: (raw) => raw === true };
}

/** For every command that writes to a disk file. */
export const FORCE = flag('--force', 'Write even to what snapshots, other disks or a saved machine stand on');

/** For every command that opens a chain of disks. */
export const ALLOW_PARENT = optionList(
  '--allow-parent <path>',
  "File or folder outside a disk's own folder where its parents may lie (repeatable)",
  parsePath,
);

/** With a value; undefined when absent. */
export function option(flags: string, summary: string): OptionSpec<string | undefined>;
export function option<T>(flags: string, summary: string, parse: (text: string) => T): OptionSpec<T | undefined>;
export function option(
  flags: string,
  summary: string,
  parse: (text: string) => unknown = (text) => text,
): OptionSpec<unknown> {
  return { flags, summary, read: (raw) => (typeof raw === 'string' ? parse(raw) : undefined) };
}

/** With a value, or switched off by a second spelling: null then. */
export function optionOrNone(
  flags: string,
  summary: string,
  negation: { readonly flags: string; readonly summary: string },
): OptionSpec<string | null | undefined> {
  return {
    flags,
    summary,
    negation,
    read: (raw) => (raw === false ? null : typeof raw === 'string' ? raw : undefined),
  };
}

/** With a value, as often as wanted. */
export function optionList<T>(flags: string, summary: string, parse: (text: string) => T): OptionSpec<readonly T[]> {
  return {
    flags,
    summary,
    repeats: true,
    read: (raw) => (Array.isArray(raw) ? raw.map((item) => parse(String(item))) : []),
  };
}
