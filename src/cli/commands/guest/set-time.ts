import { defineCommand } from '../../definition.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'guest set-time',
  summary: "Set a guest's clock to this host's",
  description: 'A machine that is resumed, or starts from a saved state, does it by itself.',
  arguments: { vm: VM_ARGUMENT },
  examples: ['guest set-time web1'],
  changes: true,
  async run({ args, global, open, output, wouldDo }) {
    const vm = await (await open()).getVm(args.vm);
    const { id, name } = vm;
    if (global.dryRun) {
      const { time } = await vm.guest.info();
      return wouldDo(`set the clock of ${JSON.stringify(name)}`, { id, name, time });
    }
    const { offsetMs } = await vm.guest.setTime();
    const seconds = Math.abs(offsetMs / 1000).toFixed(1);
    output.done(
      { id, name, offsetMs },
      `${name}: the clock was ${seconds} s ${offsetMs < 0 ? 'behind' : 'ahead'}, and is set.`,
    );
    return undefined;
  },
});
