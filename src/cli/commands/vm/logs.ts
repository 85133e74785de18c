import { sleep } from '../../../async/index.ts';
import { HvError } from '../../../errors/index.ts';
import type { Vm } from '../../../facade/index.ts';
import { defineCommand, flag } from '../../definition.ts';
import { addedText } from '../../output/added-text.ts';
import { terminalText } from '../../output/terminal-text.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

const FOLLOW_INTERVAL_MS = 300;
const OVER = new Set<string>(['Off', 'Saved']);

export const command = defineCommand({
  name: 'vm logs',
  summary: "Show what a machine's serial port said",
  description: 'On a terminal, control sequences of the guest are left out.',
  arguments: { vm: VM_ARGUMENT },
  options: {
    follow: flag('-f, --follow', 'Go on showing what comes, until the machine is off'),
    engine: flag('--engine', 'Show what its engine and worker logged instead'),
  },
  examples: ['vm logs web1', 'vm logs web1 --follow', 'vm logs web1 --engine'],
  changes: false,
  async run({ args, options, open, output, signal }) {
    const vm = await (await open()).getVm(args.vm);
    if (output.json && options.follow) {
      throw new HvError('invalid-argument', '--follow and --json cannot be used together', { hint: 'Leave one out.' });
    }
    if (output.json) {
      await output.result({ id: vm.id, name: vm.name, ...(await vm.logs()) }, () => '');
      return undefined;
    }
    const show = (text: string): void => output.raw(output.isTerminal ? terminalText(text) : text);
    let shown = await logOf(vm, options.engine);
    show(shown);
    while (options.follow) {
      // The state is asked for first: what the guest said last is there once the machine is off.
      const isOver = OVER.has(await vm.state());
      const now = await logOf(vm, options.engine);
      show(addedText(shown, now));
      shown = now;
      if (isOver) break;
      await sleep(FOLLOW_INTERVAL_MS, { signal });
    }
    if (output.isTerminal && shown !== '' && !shown.endsWith('\n')) output.raw('\n');
    return undefined;
  },
});

async function logOf(vm: Vm, engine: boolean): Promise<string> {
  const logs = await vm.logs();
  if (!engine) return logs.serial;
  return [logs.engine, logs.worker].map((text) => (text === '' || text.endsWith('\n') ? text : `${text}\n`)).join('');
}
