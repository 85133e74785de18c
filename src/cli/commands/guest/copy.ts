import { HvError } from '../../../errors/index.ts';
import { argument, defineCommand, flag } from '../../definition.ts';
import { showBytes } from '../../output/units.ts';
import { parseCopyEnd } from '../../values/guest-path.ts';

export const command = defineCommand({
  name: 'guest copy',
  summary: 'Copy a file into a guest, or out of one',
  description:
    "A file of a guest is written <vm>:<absolute path>; the machine's name may hold colons and spaces. The copy is verified by its SHA-256; a copy that fails leaves the target as it was. A target that is a folder gets the file under its own name.",
  arguments: {
    source: argument('File to copy: a path here, or <vm>:/path', parseCopyEnd),
    target: argument('Where to: a path here, or <vm>:/path', parseCopyEnd),
  },
  options: { force: flag('--force', 'Replace a target that exists') },
  examples: [
    'guest copy site.tar web1:/srv/',
    'guest copy web1:/var/log/messages .',
    "guest copy 'File server:/etc/fstab' fstab",
  ],
  changes: true,
  async run({ args, options, global, open, output, long, wouldDo }) {
    const { source, target } = args;
    const hv = await open();
    const vmName = source.kind === 'guest' ? source.vm : target.kind === 'guest' ? target.vm : undefined;
    if (vmName === undefined || source.kind === target.kind) {
      throw new HvError('invalid-argument', 'one of the two is a file of a guest, and the other one is not', {
        hint: 'Write <vm>:/path for the file of a guest: hv guest copy file web1:/root/',
      });
    }
    const vm = await hv.getVm(vmName);
    const isInto = target.kind === 'guest';
    if (global.dryRun) {
      await vm.guest.info();
      return wouldDo(`copy ${source.path} ${isInto ? 'into' : 'out of'} ${JSON.stringify(vm.name)} to ${target.path}`, {
        id: vm.id,
        name: vm.name,
      });
    }
    const work = { ...long(`Copying ${source.path}`), force: options.force };
    const copied = isInto
      ? await vm.guest.copyTo(source.path, target.path, work)
      : await vm.guest.copyFrom(source.path, target.path, work);
    const where = isInto ? `${vm.name}:${copied.path}` : copied.path;
    output.done(
      { id: vm.id, name: vm.name, direction: isInto ? 'to-guest' : 'from-guest', ...copied },
      `Copied ${showBytes(copied.sizeBytes)} to ${where}.`,
    );
    return undefined;
  },
});
