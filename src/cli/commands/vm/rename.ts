import { HvError, isHvError } from '../../../errors/index.ts';
import type { HyperVFacade } from '../../../facade/index.ts';
import { argument, defineCommand } from '../../definition.ts';
import { validName } from '../../doors.ts';
import { showMoved, VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'vm rename',
  summary: 'Give a machine another name',
  arguments: { vm: VM_ARGUMENT, name: argument('The new name') },
  examples: ['vm rename web1 "Web server"'],
  changes: true,
  async run({ args, global, open, output, wouldDo }) {
    const hv = await open();
    const vm = await hv.getVm(args.vm);
    if (global.dryRun) {
      const name = validName(args.name, 'machine name');
      await checkFree(hv, vm.id, name);
      return wouldDo(`rename ${JSON.stringify(vm.name)} to ${JSON.stringify(name)}`, {
        id: vm.id,
        name: vm.name,
        newName: name,
      });
    }
    await vm.rename(args.name);
    await showMoved(await hv.getVm(vm.id), output);
    return undefined;
  },
});

async function checkFree(hv: HyperVFacade, vmId: string, name: string): Promise<void> {
  try {
    const other = await hv.getVm(name);
    if (other.id === vmId || other.name.toLowerCase() !== name.toLowerCase()) return;
  } catch (error) {
    if (isHvError(error, 'not-found')) return;
    if (!isHvError(error, 'ambiguous-name')) throw error;
  }
  throw new HvError('already-exists', `a machine named ${JSON.stringify(name)} exists already`, { detail: { name } });
}
