import { defineCommand, option } from '../../definition.ts';
import { leaveNote, refuseWhenHeld } from '../../serial/holder.ts';
import { serialSession } from '../../serial/session.ts';
import { parseDuration } from '../../values/duration.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'vm console',
  summary: "Attach to a machine's first serial port (leave with Ctrl-])",
  description:
    'On a terminal, keys go to the guest as they are typed, Ctrl-C too. Input may also come from a pipe: the console is left once the input has ended and the guest says nothing more.',
  arguments: { vm: VM_ARGUMENT },
  options: {
    quietTime: option(
      '--quiet-time <duration>',
      'Piped input: leave after this much silence (default 2s)',
      parseDuration,
    ),
  },
  examples: ['vm console web1', "echo 'uname -a' | hv vm console web1 --quiet-time 3s"],
  changes: false,
  async run({ args, options, open, output, streams, signal }) {
    const vm = await (await open()).getVm(args.vm);
    const { path } = await vm.console();
    await refuseWhenHeld(path, vm.name);
    const removeNote = await leaveNote(path);
    try {
      const end = await serialSession({
        socketPath: path,
        streams,
        signal,
        quietMs: options.quietTime ?? 2000,
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
