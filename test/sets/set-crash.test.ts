import { readdirSync, rmSync } from 'node:fs';
import { expect, test } from 'vitest';
import { createVhdSet, vhdSetInfo } from '../../src/disk/index.ts';
import { TemporaryFolder } from '../vhdx/tools.ts';
import { dieAfter } from './dying-files.ts';
import { defineSetCrashes } from './set-crash-suite.ts';

defineSetCrashes(5);

test('the making of a VHD Set is done or undone', async () => {
  let isDead = true;
  for (let budget = 0; isDead; budget++) {
    using folder = new TemporaryFolder();
    const set = folder.file('disk.vhds');
    ({ isDead } = await dieAfter(budget, () => createVhdSet(set, { sizeBytes: 4 * 2 ** 20 })));
    if (readdirSync(folder.path).includes('disk.vhds')) {
      expect((await vhdSetInfo(set)).allPaths.length).toBe(1);
      continue;
    }
    // A disk without a set is an ordinary file that nobody misses: the next making is not in its way.
    await createVhdSet(set, { sizeBytes: 4 * 2 ** 20 });
    rmSync(set);
  }
});
