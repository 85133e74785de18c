import { realpath } from 'node:fs/promises';
import { HvError, isHvError } from '../../../errors/index.ts';
import type { HyperVFacade } from '../../../facade/index.ts';
import { argument, defineCommand, flag, option, optionList } from '../../definition.ts';
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
    allowParent: optionList(
      '--allow-parent <path>',
      "File or folder outside the disk's own folder where its parents may lie (repeatable)",
      parsePath,
    ),
  },
  examples: ['vhd serve disk.vhdx --socket /tmp/disk.sock', 'vhd serve disk.vhdx --socket /tmp/disk.sock --read-only'],
  changes: false,
  async run({ args, options, open, output, signal }) {
    if (options.socket === undefined) {
      throw new HvError('invalid-argument', 'a socket to listen on is needed', {
        hint: 'Add --socket /tmp/disk.sock.',
      });
    }
    if (!options.readOnly) await refuseWhenUsed(open, args.file);
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

/** Writing under a saved machine, or beneath a snapshot or a child, would ruin it; a running one holds the file's lock. */
async function refuseWhenUsed(open: () => Promise<HyperVFacade>, path: string): Promise<void> {
  let hv: HyperVFacade;
  try {
    hv = await open();
  } catch (error) {
    // Disks can be served where no machines can be run.
    if (isHvError(error, 'unsupported')) return;
    throw error;
  }
  for (const { id, name } of await hv.host.disks.users(path)) {
    const { state, snapshotCount, hardDiskDrives } = await hv.host.vms.info(id);
    const drives = await Promise.all(hardDiskDrives.map((drive) => canonical(drive.path)));
    const isOwnDrive = drives.includes(await canonical(path));
    if (isOwnDrive && state === 'Off' && snapshotCount === 0) continue;
    const why = isOwnDrive
      ? `which is ${state}${snapshotCount > 0 ? ' and has snapshots' : ''}`
      : 'whose disk builds on it';
    throw new HvError('in-use', `${path} is used by the machine "${name}", ${why}`, {
      detail: { path, vm: name, id, state, snapshotCount, isOwnDrive },
      hint: 'Use --read-only.',
    });
  }
}

/** Without symbolic links; as it is where nothing is there. */
function canonical(path: string): Promise<string> {
  return realpath(path).catch(() => path);
}
