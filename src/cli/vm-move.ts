import type { Vm } from '../facade/index.ts';
import { argument, type CommandContext } from './definition.ts';
import { judgeMove, type VmAction } from './doors.ts';
import { EXIT, type ExitStatus } from './exit-status.ts';

/** The argument that nearly every verb of a machine has. */
export const VM_ARGUMENT = argument('Name of the machine (case does not matter) or its id');

/** What is printed after a machine was moved to another state. */
export async function showMoved(vm: Vm, output: CommandContext['output']): Promise<void> {
  const { id, name, state, stateReason } = await vm.info();
  output.done({ id, name, state, stateReason }, `${name}: ${state}`);
}

export interface Move {
  readonly action: VmAction;
  /** As in `would start "web1"`. */
  readonly verb: string;
  /** What else the real command would refuse, beyond the state. */
  check?(vm: Vm): Promise<void>;
  act(vm: Vm): Promise<void>;
}

/** One machine, one legal move: the whole of start, pause and their like. */
export async function moveVm(
  context: Pick<CommandContext, 'open' | 'output' | 'global' | 'wouldDo'>,
  nameOrId: string,
  move: Move,
): Promise<ExitStatus> {
  const vm = await (await context.open()).getVm(nameOrId);
  if (context.global.dryRun) {
    const { state } = await vm.info();
    const verdict = judgeMove(move.action, state, vm);
    if (verdict === 'do') await move.check?.(vm);
    const text =
      verdict === 'done'
        ? `do nothing: ${JSON.stringify(vm.name)} is ${state}`
        : `${move.verb} ${JSON.stringify(vm.name)}`;
    context.wouldDo(text, { id: vm.id, name: vm.name, state });
    return EXIT.done;
  }
  await move.act(vm);
  await showMoved(vm, context.output);
  return EXIT.done;
}
