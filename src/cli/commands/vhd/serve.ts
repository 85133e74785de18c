import { HvError } from '../../../errors/index.ts';
import { argument, defineCommand, FORCE, flag, option, optionList } from '../../definition.ts';
import { loadDiskServer } from '../../doors.ts';
import { parsePath } from '../../values/path.ts';

export const command = defineCommand({
  name: 'vhd serve',
  summary: 'Serve a disk over NBD on a Unix socket, until it is stopped',
  description:
    'Ctrl-C or SIGTERM ends it orderly: everything is flushed, the file is closed, and the status is 0. The socket lets in its owner only.',
  arguments: { file: argument('The disk file', parsePath) },
  options: {
    socket: option('--socket <path>', 'The socket to listen on (required)', parsePath),
    readOnly: flag('--read-only', 'Refuse writes'),
    force: FORCE,
    allowParent: optionList(
      '--allow-parent <path>',
      "File or folder outside the disk's own folder where its parents may lie (repeatable)",
      parsePath,
    ),
  },
  examples: ['vhd serve disk.vhdx --socket /tmp/disk.sock', 'vhd serve disk.vhdx --socket /tmp/disk.sock --read-only'],
  changes: false,
  async run({ args, options, disks, output, signal }) {
    if (options.socket === undefined) {
      throw new HvError('invalid-argument', 'a socket to listen on is needed', {
        hint: 'Add --socket /tmp/disk.sock.',
      });
    }
    if (!options.readOnly) await (await disks()).mayChange(args.file, { force: options.force });
    const { serveDisk } = await loadDiskServer();
    await serveDisk({
      path: args.file,
      socketPath: options.socket,
      readOnly: options.readOnly,
      allowParents: options.allowParent,
      signal,
      onListening: ({ uri, sizeBytes, layers }) =>
        output.done(
          { path: args.file, socketPath: options.socket, uri, sizeBytes, readOnly: options.readOnly, layers },
          `Serving ${args.file} at ${uri}`,
        ),
    });
    return undefined;
  },
});
