import { HvError } from '../../../errors/index.ts';
import { defineCommand, option } from '../../definition.ts';
import { leaveNote, refuseWhenHeld } from '../../serial/holder.ts';
import { serialSession } from '../../serial/session.ts';
import { parseDuration } from '../../values/duration.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

const TERMINAL_LINES = 10;

export const command = defineCommand({
  name: 'vm console',
  summary: "Attach to a machine's first serial port (leave with Ctrl-])",
  description:
    'On a terminal, keys go to the guest as they are typed, Ctrl-C too. Input may also come from a pipe: the console is left once the input has ended and the guest says nothing more.',
  arguments: { vm: VM_ARGUMENT },
  options: {
    lines: option(
      '-n, --lines <count>',
      'Show so many of the last lines of the serial log first (default 10 on a terminal, else 0)',
      parseLines,
    ),
    quietTime: option(
      '--quiet-time <duration>',
      'Piped input: leave after this much silence (default 2s)',
      parseDuration,
    ),
  },
  examples: ['vm console web1', 'vm console web1 --lines 100', "echo 'uname -a' | hv vm console web1 --quiet-time 3s"],
  changes: false,
  async run({ args, options, open, output, streams, signal }) {
    const vm = await (await open()).getVm(args.vm);
    const lines = options.lines ?? (streams.stdin.isTTY ? TERMINAL_LINES : 0);
    const { path } = await vm.console();
    await refuseWhenHeld(path, vm.name);
    const removeNote = await leaveNote(path);
    try {
      const end = await serialSession({
        socketPath: path,
        streams,
        signal,
        quietMs: options.quietTime ?? 2000,
        ...(lines === 0 ? {} : { backlog: async () => lastLines((await vm.logs()).serial, lines) }),
        onConnected: () => output.note(`Connected to ${vm.name}.${streams.stdin.isTTY ? ' Leave with Ctrl-].' : ''}`),
      });
      if (streams.stdin.isTTY)
        output.note(end === 'closed' ? '\nThe machine closed the port.' : `\nLeft ${vm.name}; it runs on.`);
    } finally {
      await removeNote();
    }
    return undefined;
  },
});

function parseLines(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw new HvError('invalid-argument', `${JSON.stringify(text.slice(0, 60))} is not a number of lines`, {
    hint: 'Write a whole number; 0 for none.',
  });
}

/** The last lines, an unfinished one counting as one. */
function lastLines(text: string, count: number): string {
  let at = text.endsWith('\n') ? text.length - 1 : text.length;
  for (let left = count; left > 0 && at > 0; left -= 1) at = text.lastIndexOf('\n', at - 1);
  return at < 0 ? text : text.slice(at === 0 && count > 0 ? 0 : at + 1);
}
