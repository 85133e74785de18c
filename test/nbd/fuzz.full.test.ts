import { describe, it } from 'vitest';
import { fuzzServer } from './fuzz.ts';

describe('nbd fuzzing', () => {
  it('serves on through 100,000 mutated sessions', async () => {
    await fuzzServer(100_000, 1_000_000);
  });
});
