import { describe, it } from 'vitest';
import { fuzzServer } from './fuzz.ts';

describe('nbd fuzzing', () => {
  it('serves on through 5,000 mutated sessions', async () => {
    await fuzzServer(5000, 1);
  });
});
