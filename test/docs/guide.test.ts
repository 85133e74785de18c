import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { describeBuilt } from '../cli/built.ts';
import { temporaryFolder } from '../cli/temporary-folder.ts';
import { readPage, runCommands, shownCommands, steady, withOutputs } from './console-page.ts';

// Pages whose commands are run as they stand: what they show is what hv prints. HV_UPDATE_DOCS=1 writes it into them.
const PAGES = ['disks.md', 'vms.md'];

describeBuilt('the guide', () => {
  it.each(PAGES)('%s shows what its commands print', { timeout: 300_000 }, async (name) => {
    const path = fileURLToPath(new URL(`../../docs/guide/${name}`, import.meta.url));
    const page = await readPage(path);
    const commands = shownCommands(page);
    await using folder = await temporaryFolder();
    const outputs = await runCommands(commands, folder.path);
    if (process.env.HV_UPDATE_DOCS === '1') await writeFile(path, withOutputs(page, commands, outputs));
    else {
      for (const [index, { line, command, output }] of commands.entries()) {
        expect({ line, command, output: steady(outputs[index] ?? '') }).toEqual({
          line,
          command,
          output: steady(output),
        });
      }
    }
  });
});
