import { Command, CommanderError, Option } from 'commander';
import { HvError } from '../errors/index.ts';
import { LONE_COMMANDS, NOUNS, type Verbs } from './catalogue.ts';
import type { CommandDefinition, GlobalOptions } from './definition.ts';

/** What the words on the command line ask for. */
export type Parsed =
  | { readonly kind: 'help'; readonly text: string; readonly wrongUsage: boolean }
  | { readonly kind: 'version' }
  | {
      readonly kind: 'run';
      readonly definition: CommandDefinition;
      readonly args: Readonly<Record<string, unknown>>;
      readonly options: Readonly<Record<string, unknown>>;
      readonly global: GlobalOptions;
    };

const HELP_END = `
Every command: --json prints one JSON value (errors too, on standard error); --dry-run where something would change.
Exit status: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 wrong state, 5 unsupported here,
             10 a question answered "no", 130 interrupted.

Examples:
  $ hv doctor
  $ hv template build-linux linux.vhdx
  $ hv vm create web1 --disk linux.vhdx
  $ hv vm start web1
`;

/**
 * Reads the command line. Only the module of the command that is asked for is loaded, or those of one noun for its help.
 * @param onNamed told the command that the words name, before anything else of them is read
 * @throws HvError `invalid-argument` with what is wrong and, where there is one, the nearest name
 */
export async function parseCommandLine(
  words: readonly string[],
  onNamed: (definition: CommandDefinition) => void = () => {},
): Promise<Parsed> {
  const argv = helpAsOption(words);
  const [nounWord, verbWord, thirdWord] = positionals(argv);
  let written = '';
  let found: Parsed | undefined;

  const program = new Command('hv');
  program
    .description('Virtual machines the Hyper-V way.')
    .usage('<noun> <verb> [options]')
    .exitOverride()
    .configureOutput({ writeOut: (text) => (written += text), writeErr: (text) => (written += text) })
    .configureHelp({ showGlobalOptions: true })
    .helpCommand(false)
    .helpOption('-h, --help', 'Show help')
    .option('-V, --version', 'Print the version')
    .option('--json', 'Print JSON')
    .option('-q, --quiet', 'Say nothing but what was asked for')
    .option('--home <dir>', 'Folder with the definitions (else HV_HOME)')
    .addHelpText('after', HELP_END);

  for (const noun of NOUNS) {
    const nounCommand = program
      .command(noun.name)
      .description(noun.summary)
      .usage('<verb> [options]')
      .helpCommand(false);
    const isAsked = noun.name === nounWord;
    const group = verbWord !== undefined && isAsked ? ownValue(noun.groups ?? {}, verbWord) : undefined;
    await addVerbs(nounCommand, noun.verbs, isAsked && !group, verbWord);
    for (const [word, { summary, verbs }] of Object.entries(noun.groups ?? {})) {
      const groupCommand = nounCommand.command(word).description(summary).usage('<verb> [options]').helpCommand(false);
      await addVerbs(groupCommand, verbs, group !== undefined && word === verbWord, thirdWord);
    }
  }
  for (const lone of LONE_COMMANDS) {
    const leaf = program.command(lone.name);
    if (lone.name === nounWord) describe(leaf, (await lone.load()).command);
    else leaf.description(lone.summary);
  }

  /** The verbs by name; what help says of them only where it may be asked for: the verb typed, or all when none is. */
  async function addVerbs(parent: Command, verbs: Verbs, isAsked: boolean, typed: string | undefined): Promise<void> {
    const isKnown = typed !== undefined && Object.hasOwn(verbs, typed);
    for (const [verb, load] of Object.entries(verbs)) {
      const leaf = parent.command(verb);
      if (!isAsked || (isKnown && verb !== typed)) continue;
      const { command } = await load();
      if (isKnown) onNamed(command);
      describe(leaf, command);
    }
  }

  function describe(leaf: Command, definition: CommandDefinition): void {
    defineLeaf(leaf, definition, (args, raw) => {
      found = readValues(definition, args, raw);
    });
  }

  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.code === 'commander.helpDisplayed') return { kind: 'help', text: written, wrongUsage: false };
    // Nothing to run was named: `hv` alone introduces itself, `hv vm` is half a command.
    if (error.code === 'commander.help') {
      if (program.opts().version === true) return { kind: 'version' };
      const noun = NOUNS.find(({ name }) => name === nounWord);
      if (noun && program.opts().json === true) {
        const group = verbWord === undefined ? undefined : ownValue(noun.groups ?? {}, verbWord);
        const verbs = Object.keys(group?.verbs ?? { ...noun.verbs, ...noun.groups });
        throw new HvError('invalid-argument', `\`hv ${noun.name}${group ? ` ${verbWord}` : ''}\` needs a verb`, {
          hint: `One of: ${verbs.join(', ')}.`,
        });
      }
      return { kind: 'help', text: written, wrongUsage: noun !== undefined };
    }
    throw usageError(error.message);
  }
  if (!found) throw new HvError('internal', `the command line ${JSON.stringify(argv)} led to no command`);
  return found;
}

function ownValue<T>(of: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(of, key) ? of[key] : undefined;
}

/** `hv help vm list` is `hv vm list --help`. */
function helpAsOption(words: readonly string[]): string[] {
  return words[0] === 'help' ? [...words.slice(1), '--help'] : [...words];
}

/** The words that are neither options nor the value of an option that may stand before the noun. */
function positionals(argv: readonly string[]): string[] {
  const found: string[] = [];
  for (let index = 0; index < argv.length; index += 1) {
    const word = argv[index] ?? '';
    if (word === '--') break;
    if (word === '--home') index += 1;
    else if (!word.startsWith('-')) found.push(word);
  }
  return found;
}

function defineLeaf(
  leaf: Command,
  definition: CommandDefinition,
  onChosen: (args: readonly unknown[], raw: Readonly<Record<string, unknown>>) => void,
): void {
  leaf.description(definition.summary).summary(definition.summary);
  if (definition.description !== undefined) leaf.description(`${definition.summary}.\n\n${definition.description}`);
  for (const [name, spec] of Object.entries(definition.arguments ?? {}))
    leaf.argument(spec.repeats ? `[${name}...]` : `<${name}>`, spec.summary);
  for (const spec of Object.values(definition.options ?? {})) {
    const made = new Option(spec.flags, spec.summary);
    if (spec.repeats)
      made.argParser((value: string, before: unknown) => [...(Array.isArray(before) ? before : []), value]);
    leaf.addOption(made);
    if (spec.negation) leaf.addOption(new Option(spec.negation.flags, spec.negation.summary));
  }
  if (definition.changes) leaf.option('--dry-run', 'Check everything, say what would be done, change nothing');
  // An example that begins with another program, as a pipe into hv does, is whole already.
  const examples = definition.examples
    .map((example) => `  $ ${example.startsWith(definition.name) ? 'hv ' : ''}${example}`)
    .join('\n');
  leaf.addHelpText('after', `\nExample${definition.examples.length > 1 ? 's' : ''}:\n${examples}`);
  leaf.action(() => onChosen(leaf.args, leaf.optsWithGlobals()));
}

function readValues(
  definition: CommandDefinition,
  words: readonly unknown[],
  raw: Readonly<Record<string, unknown>>,
): Parsed {
  if (raw.version === true) return { kind: 'version' };
  const args = Object.entries(definition.arguments ?? {}).map(([name, spec], index) => [
    name,
    spec.parse(...words.slice(index, spec.repeats ? undefined : index + 1).map(String)),
  ]);
  const options = Object.entries(definition.options ?? {}).map(([name, spec]) => [name, spec.read(raw[name])]);
  return {
    kind: 'run',
    definition,
    args: Object.fromEntries(args),
    options: Object.fromEntries(options),
    global: {
      json: raw.json === true,
      quiet: raw.quiet === true,
      home: typeof raw.home === 'string' ? raw.home : undefined,
      dryRun: raw.dryRun === true,
    },
  };
}

/** The parser's own message, as ours: `error: unknown option '--jsn'` and `(Did you mean --json?)`. */
function usageError(message: string): HvError {
  const nearest = /\(Did you mean (.+)\?\)/.exec(message)?.[1];
  const text = message
    .replace(/\s*\(Did you mean .+\?\)/, '')
    .replace(/^error: /, '')
    .trim();
  return new HvError('invalid-argument', text, {
    ...(nearest === undefined ? {} : { detail: { nearest } }),
    hint: nearest === undefined ? 'See --help.' : `Did you mean ${nearest}?`,
  });
}
