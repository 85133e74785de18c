import { realpath } from 'node:fs/promises';
import { argument, defineCommand } from '../../definition.ts';
import { parsePath } from '../../values/path.ts';

export const command = defineCommand({
  name: 'vhd dismount',
  summary: 'Take a mounted disk away from this host: flush it, close it, free its file',
  description: 'Also cleans up after a disk whose worker was killed. Refused while something still uses the disk.',
  arguments: { file: argument('The disk file', parsePath) },
  examples: ['vhd dismount disk.vhdx'],
  changes: true,
  async run({ args, global, disks, output, signal, wouldDo }) {
    const service = await disks();
    if (global.dryRun) {
      const real = await realpath(args.file).catch(() => args.file); // mounted disks are known by their true place
      const isMounted = (await service.attached()).some(({ path }) => path === real);
      return wouldDo(isMounted ? `dismount ${args.file}` : `find ${args.file} not mounted`, { isMounted });
    }
    await service.dismount(args.file, { signal });
    output.done({ path: args.file, dismounted: true }, `${args.file} is dismounted.`);
    return undefined;
  },
});
