import { test } from 'vitest';
import { runChainModel, runSetModel } from './model.ts';

test.each(Array.from({ length: 20 }, (_, seed) => 100 + seed))('random changes hold: seed %i', async (seed) => {
  await runSetModel(seed, 120);
  await runChainModel(seed, 80, seed % 3 === 0 ? 'vhd' : 'vhdx');
});
