import { HvError } from '../../../errors/index.ts';
import type { Vm } from '../../../facade/index.ts';
import { defineCommand, flag } from '../../definition.ts';
import { judgeMove } from '../../doors.ts';
import { EXIT } from '../../exit-status.ts';
import { confirmed } from '../../output/prompt.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'vm delete',
  summary: 'Forget a machine; its disks stay unless --with-disks',
  description: 'Snapshots end with it. Asks before it does so on a terminal; elsewhere it needs --yes.',
  arguments: { vm: VM_ARGUMENT },
  options: {
    withDisks: flag('--with-disks', 'Delete its own disk files, too (never their parents)'),
    yes: flag('-y, --yes', 'Do not ask'),
  },
  examples: ['vm delete web1', 'vm delete web1 --with-disks --yes', 'vm delete web1 --with-disks --dry-run'],
  changes: true,
  async run({ args, options, global, open, output, streams, signal, long, wouldDo }) {
    const hv = await open();
    const vm = await hv.getVm(args.vm);
    judgeMove('delete', await vm.state(), vm);
    const paths = options.withDisks ? await hv.host.vms.diskPaths(vm.id) : [];
    if (global.dryRun)
      return wouldDo(sentence(vm, paths, 'delete'), { id: vm.id, name: vm.name, wouldDeletePaths: paths });
    if (!options.yes) {
      if (!streams.stdin.isTTY || !streams.stderr.isTTY) {
        throw new HvError('invalid-argument', `deleting "${vm.name}" needs --yes where nobody can be asked`, {
          detail: { vm: vm.name, id: vm.id },
          hint: 'Add --yes, or see first what would happen with --dry-run.',
        });
      }
      if (!(await confirmed(`${sentence(vm, paths, 'Delete')}?`, streams, signal))) {
        output.note('Not deleted.');
        return EXIT.answerNo;
      }
    }
    const { deletedPaths } = await vm.delete({ withDisks: options.withDisks, ...long(`Deleting ${vm.name}`) });
    output.done(
      { id: vm.id, name: vm.name, deleted: true, deletedPaths },
      [`Deleted ${vm.name}.`, ...deletedPaths].join('\n  '),
    );
    return undefined;
  },
});

function sentence(vm: Vm, paths: readonly string[], verb: string): string {
  const machine = `${verb} the machine ${JSON.stringify(vm.name)}`;
  return paths.length === 0 ? machine : `${machine} and its disks:\n  ${paths.join('\n  ')}\n`.trimEnd();
}
