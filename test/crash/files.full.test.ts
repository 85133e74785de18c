import { describe, expect, test, vi } from 'vitest';
import { crashOperation } from './crash-operation.ts';
import { changedFiles, newFiles, trackedFiles } from './file-operations.ts';

vi.mock(import('../../src/system/process-identity.ts'), async (original) => {
  const { host } = await import('./host-run.ts');
  return { ...(await original()), bootId: () => host.run };
});

describe.each([
  ['a new file', newFiles()],
  ['a file that is changed', changedFiles()],
  ['a file whose changes are tracked', trackedFiles()],
] as const)('%s, at every turn of its life', (_, operations) => {
  test.each(operations)('$title', async (operation) => {
    expect(await crashOperation(operation, { every: 7, cuts: 2 })).toBeGreaterThan(5);
  });
});
