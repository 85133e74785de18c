import { access, constants, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fromSystemError, HvError, isSystemError } from '../../../errors/index.ts';
import { defineCommand, option } from '../../definition.ts';
import { parsePath } from '../../values/path.ts';

export const command = defineCommand({
  name: 'host set',
  summary: 'Change the default folders of this host',
  description: 'Machines and disks that exist stay where they are.',
  options: {
    vmPath: option('--vm-path <dir>', 'Where definitions of new machines are kept', parsePath),
    vhdPath: option('--vhd-path <dir>', 'Where new disks are put', parsePath),
  },
  examples: ['host set --vhd-path /srv/disks', 'host set --vm-path /srv/vms --vhd-path /srv/disks --dry-run'],
  changes: true,
  async run({ options, global, open, output, wouldDo }) {
    const { vmPath, vhdPath } = options;
    if (vmPath === undefined && vhdPath === undefined) {
      throw new HvError('invalid-argument', 'nothing to set', { hint: 'Give --vm-path, --vhd-path or both.' });
    }
    const settings = {
      ...(vmPath === undefined ? {} : { vmPath }),
      ...(vhdPath === undefined ? {} : { vhdPath }),
    };
    const hv = await open();
    if (global.dryRun) {
      for (const path of Object.values(settings)) await checkFolder(path);
      const text = Object.entries(settings).map(
        ([key, path]) => `set ${key === 'vmPath' ? 'the folder of machines' : 'the folder of new disks'} to ${path}`,
      );
      return wouldDo(text.join(' and '), settings);
    }
    const host = await hv.setHost(settings);
    output.done(host, `Machines are kept in ${host.vmPath}; new disks are put in ${host.vhdPath}.`);
    return undefined;
  },
});

/** The folder is there and ours to write to, or could be made where it shall be. */
async function checkFolder(path: string): Promise<void> {
  let existing = path;
  for (;;) {
    try {
      if (!(await stat(existing)).isDirectory()) {
        throw new HvError('invalid-argument', `${existing} is not a folder`, { detail: { path: existing } });
      }
      await access(existing, constants.W_OK);
      return;
    } catch (error) {
      if (!isSystemError(error, 'ENOENT') || dirname(existing) === existing) {
        throw fromSystemError(error, `cannot use the folder ${path}`, { path });
      }
      existing = dirname(existing);
    }
  }
}
