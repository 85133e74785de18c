import { test } from 'vitest';
import { runChainModel, runSetModel } from './model.ts';

test.each([1, 2])('a VHD Set holds what a plain array holds through random changes: seed %i', async (seed) => {
  await runSetModel(seed, 40);
});

test.each([
  ['vhdx', 3],
  ['vhdx', 4],
  ['vhd', 5],
] as const)(
  'a chain of %s files holds what a plain array holds through random changes: seed %i',
  async (format, seed) => {
    await runChainModel(seed, 30, format);
  },
);
