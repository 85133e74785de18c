import { HvError } from '../../../../errors/index.ts';
import { argument, defineCommand } from '../../../definition.ts';
import { VM_ARGUMENT } from '../../../vm-move.ts';

export const command = defineCommand({
  name: 'guest kvp delete',
  summary: 'Take a key-value pair back that the host has set',
  arguments: { vm: VM_ARGUMENT, key: argument('Key') },
  examples: ['guest kvp delete web1 role'],
  changes: true,
  async run({ args, global, open, output, wouldDo }) {
    const vm = await (await open()).getVm(args.vm);
    const facts = { id: vm.id, name: vm.name, key: args.key };
    if (global.dryRun) {
      const pairs = await vm.guest.keyValuePairs();
      if (pairs.some(({ source, key }) => source === 'host' && key === args.key)) {
        return wouldDo(`take ${args.key} back from ${JSON.stringify(vm.name)}`, facts);
      }
      throw new HvError('not-found', `the host has set no key ${JSON.stringify(args.key)}`, { detail: facts });
    }
    await vm.guest.deleteKeyValuePair(args.key);
    output.done({ ...facts, deleted: true }, `${vm.name}: ${args.key} is no longer told.`);
    return undefined;
  },
});
