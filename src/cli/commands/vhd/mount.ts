import { ALLOW_PARENT, argument, defineCommand, FORCE, flag, option } from '../../definition.ts';
import { choiceOf } from '../../values/choice.ts';
import { parsePath } from '../../values/path.ts';

export const command = defineCommand({
  name: 'vhd mount',
  summary: 'Show a disk to this host, as a block device or as files, until it is dismounted',
  description:
    'The disk stays mounted when the command is over. Root gets a block device with its partitions; others get a file for the disk and one for each partition. The file systems inside are not mounted unless asked for.',
  arguments: { file: argument('The disk file', parsePath) },
  options: {
    readOnly: flag('--read-only', 'Refuse writes'),
    mountFilesystems: flag(
      '--mount-filesystems',
      'Mount what is inside in this kernel, read-only: a kernel is not made for hostile file systems',
    ),
    trusted: flag('--trusted', 'The file systems are trusted: mount them for writing'),
    way: option(
      '--way <way>',
      'nbd or fuse-loop (block devices) or fuse (files); default the best that works here',
      choiceOf('way', ['nbd', 'fuse-loop', 'fuse']),
    ),
    force: FORCE,
    allowParent: ALLOW_PARENT,
  },
  examples: ['vhd mount disk.vhdx', 'vhd mount disk.vhdx --read-only --json'],
  changes: true,
  async run({ args, options, global, disks, output, signal, wouldDo }) {
    const { readOnly, mountFilesystems: mountFileSystems, trusted, way, force, allowParent: allowParents } = options;
    const service = await disks();
    if (global.dryRun) {
      if (!readOnly) await service.mayChange(args.file, { force, signal });
      const { path, inUse } = await service.info(args.file);
      return wouldDo(`mount ${path}`, { path, inUse });
    }
    const warning = 'Its file systems are read by this host’s kernel, which is not made for hostile ones.';
    if (mountFileSystems) output.note(warning);
    const disk = await service.mount(args.file, {
      readOnly,
      mountFileSystems,
      trusted,
      force,
      allowParents,
      signal,
      ...(way === undefined ? {} : { way }),
    });
    const ways = way === undefined ? await service.mountWays() : [];
    const better = ways.slice(
      0,
      ways.findIndex((finding) => finding.way === disk.way),
    );
    if (!global.json) for (const finding of better) output.note(`Not as ${finding.way}: ${finding.missing}.`);
    await output.result(mountFileSystems ? { ...disk, warning } : disk, () => {
      const lines = disk.partitions.map(({ number, devicePath, filePath, mountPath }) => {
        const at = mountPath === null ? '' : `, mounted at ${mountPath}`;
        return `  ${number}: ${devicePath ?? filePath}${at}`;
      });
      const head = `${disk.path} is ${disk.devicePath ?? disk.filePath} (${disk.way}${disk.readOnly ? ', read-only' : ''}).`;
      return [head, ...lines].join('\n');
    });
    return undefined;
  },
});
