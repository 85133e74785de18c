import { argument, defineCommand, option, optionList, optionOrNone } from '../../definition.ts';
import type { CreateVmOptions } from '../../nouns.ts';
import { choiceOf, countOf } from '../../values/choice.ts';
import { parsePath } from '../../values/path.ts';
import { parseSize } from '../../values/size.ts';

const generationOf = choiceOf('generation', ['1', '2']);

export const command = defineCommand({
  name: 'vm create',
  summary: 'Define a machine',
  description:
    'With an existing disk (--disk), a new one (--new-disk; at --disk when both are given, else in the default disk folder), or none.',
  arguments: { name: argument('Name: 1 to 100 characters of any script, without / and \\') },
  options: {
    memory: option('-m, --memory <size>', 'Memory (default 2G)', parseSize),
    cpus: option('-c, --cpus <count>', 'Virtual processors (default 2)', countOf('processors')),
    generation: option('-g, --generation <1|2>', '1: BIOS and IDE; 2: UEFI (default 2)', (text) =>
      generationOf(text) === '1' ? 1 : 2,
    ),
    guest: option(
      '--guest <linux|windows>',
      'What the guest can drive out of the box (default linux)',
      choiceOf('guest', ['linux', 'windows']),
    ),
    disk: option('--disk <file>', 'Virtual hard disk to start from', parsePath),
    newDisk: option('--new-disk <size>', 'Make a dynamic VHDX of this size', parseSize),
    switch: optionOrNone('--switch <name>', 'Virtual switch to connect to (default "Default Switch")', {
      flags: '--no-switch',
      summary: 'Connect the network adapter to nothing',
    }),
    allowParent: optionList(
      '--allow-parent <path>',
      "File or folder outside the disk's own folder where its parents may lie (repeatable)",
      parsePath,
    ),
  },
  examples: [
    'vm create web1 --new-disk 64G',
    'vm create web1 --memory 4G --cpus 4 --disk linux.vhdx',
    'vm create "File server" --guest windows --generation 2 --disk server.vhdx --no-switch',
  ],
  changes: true,
  async run({ args, options, global, open, output, long, wouldDo }) {
    const wanted: CreateVmOptions = {
      name: args.name,
      ...(options.memory === undefined ? {} : { memoryBytes: options.memory }),
      ...(options.cpus === undefined ? {} : { processorCount: options.cpus }),
      ...(options.generation === undefined ? {} : { generation: options.generation }),
      ...(options.guest === undefined ? {} : { guest: options.guest }),
      ...(options.disk === undefined ? {} : { diskPath: options.disk }),
      ...(options.newDisk === undefined ? {} : { newDiskSizeBytes: options.newDisk }),
      ...(options.switch === undefined ? {} : { switchName: options.switch }),
      ...(options.allowParent.length === 0 ? {} : { allowedParents: options.allowParent }),
    };
    const hv = await open();
    if (global.dryRun) {
      await hv.host.vms.checkCreate(wanted);
      return wouldDo(`create the machine ${JSON.stringify(args.name)}`, { options: wanted });
    }
    const vm = await hv.createVm(wanted, long(`Creating ${args.name}`));
    const info = await vm.info();
    output.done(info, `Created ${info.name} (${info.id}). Start it: hv vm start ${quoted(info.name)}`);
    return undefined;
  },
});

/** As a POSIX shell takes it for one word. */
function quoted(name: string): string {
  return /^[\w.-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`;
}
