import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fromSystemError, HvError } from '../../../errors/index.ts';
import { defineCommand, option } from '../../definition.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'vm screenshot',
  summary: "Write a machine's screen to a PNG file",
  arguments: { vm: VM_ARGUMENT },
  options: { output: option('-o, --output <file>', 'File to write (default <name>.png here); - for standard output') },
  examples: ['vm screenshot web1', 'vm screenshot web1 -o screen.png'],
  changes: false,
  async run({ args, options, open, output, streams }) {
    const vm = await (await open()).getVm(args.vm);
    if (options.output === '' || (options.output === '-' && (output.json || streams.stdout.isTTY))) {
      throw new HvError('invalid-argument', 'the picture needs a file', { hint: 'Use -o screen.png.' });
    }
    const png = await vm.screenshot();
    if (options.output === '-') {
      output.raw(png);
      return undefined;
    }
    const path = resolve(options.output ?? `${vm.name}.png`);
    try {
      await writeFile(path, png);
    } catch (error) {
      throw fromSystemError(error, `cannot write ${path}`, { path });
    }
    output.done({ id: vm.id, name: vm.name, path, sizeBytes: png.length }, `Wrote ${path}.`);
    return undefined;
  },
});
