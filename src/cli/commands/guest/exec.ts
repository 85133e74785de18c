import { HvError } from '../../../errors/index.ts';
import { argument, argumentList, defineCommand, flag, option, optionList } from '../../definition.ts';
import { EXIT, OWN_FAILURE } from '../../exit-status.ts';
import { terminalText } from '../../output/terminal-text.ts';
import { parseDuration } from '../../values/duration.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

const MAX_STATUS = 255;
/** As shells tell of a program that a signal ended. */
const SIGNAL_BASE = 128;

export const command = defineCommand({
  name: 'guest exec',
  summary: "Run a program in a machine's guest",
  description:
    "No shell stands between: ask for one where one is wanted. Ends with the program's own status (128 and the signal's number where a signal ended it), or with 125 where hv itself failed. What it prints comes when it has ended, at most 16 MiB to each output; on a terminal without control sequences.",
  arguments: {
    vm: VM_ARGUMENT,
    program: argument('What to run: a path, or a name that the agent finds'),
    args: argumentList('Its arguments; put -- before the program where one of them begins with a dash'),
  },
  options: {
    stdin: flag('-i, --stdin', 'Give it the standard input, until that ends'),
    env: optionList('-e, --env <NAME=value>', 'Add to its environment (repeatable)', parseVariable),
    workingDirectory: option('-w, --working-directory <dir>', 'Start it in this folder of the guest'),
    timeout: option('--timeout <duration>', 'Kill it when it still runs then, as in 30s or 2m', parseDuration),
  },
  examples: [
    'guest exec web1 -- uname -a',
    'guest exec web1 --env LANG=C --timeout 30s -- sh -c "df -h | tail -1"',
    'tar -cf - site | hv guest exec -i web1 -- tar -xf - -C /srv',
  ],
  failureStatus: OWN_FAILURE,
  changes: false,
  async run({ args, options, open, output, streams, signal }) {
    const vm = await (await open()).getVm(args.vm);
    const result = await vm.guest.exec(args.program, args.args, {
      signal,
      environment: Object.fromEntries(options.env),
      ...(options.stdin ? { input: streams.stdin as AsyncIterable<Uint8Array> } : {}),
      ...(options.workingDirectory === undefined ? {} : { workingDirectory: options.workingDirectory }),
      ...(options.timeout === undefined ? {} : { timeoutMs: options.timeout }),
    });
    const { exitCode, signal: endSignal, stdout, stderr, truncated } = result;
    if (output.json) {
      const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');
      await output.result(
        {
          id: vm.id,
          name: vm.name,
          exitCode,
          signal: endSignal,
          stdout: text(stdout),
          stderr: text(stderr),
          truncated,
        },
        () => '',
      );
    } else {
      passOn(streams.stdout, stdout);
      passOn(streams.stderr, stderr);
      if (truncated) output.note('The rest of what it printed is lost: the agent keeps 16 MiB.');
    }
    if (endSignal !== null) return SIGNAL_BASE + endSignal;
    return exitCode === null ? EXIT.failed : exitCode >= 0 && exitCode <= MAX_STATUS ? exitCode : MAX_STATUS;
  },
});

function passOn(stream: NodeJS.WriteStream, bytes: Uint8Array): void {
  stream.write(stream.isTTY ? terminalText(Buffer.from(bytes).toString('utf8')) : bytes);
}

function parseVariable(text: string): readonly [name: string, value: string] {
  const at = text.indexOf('=');
  if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
  throw new HvError('invalid-argument', `${JSON.stringify(text.slice(0, 60))} is no variable`, {
    hint: 'Write NAME=value.',
  });
}
