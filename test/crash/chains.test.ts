import { describe, expect, test, vi } from 'vitest';
import { merges, newParents, sets } from './chain-operations.ts';
import { crashOperation } from './crash-operation.ts';

vi.mock(import('../../src/system/process-identity.ts'), async (original) => {
  const { host } = await import('./host-run.ts');
  return { ...(await original()), bootId: () => host.run };
});

describe.each([
  ['a chain', merges()],
  ['a child', newParents()],
  ['a VHD Set', sets()],
] as const)('%s, at moments of its life', (_, operations) => {
  test.each(operations)('$title', async (operation) => {
    expect(await crashOperation(operation, { every: 1000, atMost: 8, cuts: 1 })).toBeGreaterThan(5);
  });
});
