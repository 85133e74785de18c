import { expect, test } from 'vitest';
import type { ParentLocator } from '../formats/vhdx/index.ts';
import { locatorPaths, mayHoldParent, parentCandidates } from './parent-paths.ts';

function locator(paths: Partial<ParentLocator>): ParentLocator {
  return { linkages: [], relativePath: undefined, volumePath: undefined, absolutePath: undefined, pairs: [], ...paths };
}

test('paths are written as Windows writes them and found again', () => {
  expect(locatorPaths('/vm/a/c.vhdx', '/vm/a/p.vhdx')).toEqual({
    relativePath: '.\\p.vhdx',
    absolutePath: '\\vm\\a\\p.vhdx',
  });
  expect(locatorPaths('/vm/a/c.vhdx', '/vm/b/p.vhdx').relativePath).toBe('..\\b\\p.vhdx');
  for (const parent of ['/vm/a/p.vhdx', '/vm/a/deep/..p.vhdx', '/other/p q.vhdx']) {
    const written = locatorPaths('/vm/a/c.vhdx', parent);
    expect(parentCandidates('/vm/a/c.vhdx', locator(written))).toEqual([parent]);
  }
  expect(() => locatorPaths('/vm/c.vhdx', '/vm/p\\q.vhdx')).toThrow(/backslash/);
});

test('a path of Windows stands for its last part beside the child', () => {
  const found = parentCandidates(
    '/vm/c.avhdx',
    locator({
      relativePath: '.\\base.vhdx',
      volumePath: '\\\\?\\Volume{26a21bda-a627-11d7-9931-806e6f6e6963}\\disks\\old.vhdx',
      absolutePath: 'C:\\VMs\\other.vhdx',
    }),
  );
  expect(found).toEqual(['/vm/base.vhdx', '/vm/old.vhdx', '/vm/other.vhdx']);
  expect(parentCandidates('/vm/c.avhdx', locator({ absolutePath: '\\\\?\\d:\\x\\y.vhdx' }))).toEqual(['/vm/y.vhdx']);
});

test('network and device paths, and names that are none, are passed over', () => {
  for (const path of [
    '\\\\server\\share\\p.vhdx',
    '\\\\?\\UNC\\server\\share\\p.vhdx',
    '\\\\.\\PhysicalDrive0',
    '//server/p',
    'C:\\VMs\\..',
    'C:\\',
    'C:\\a/b',
    'p\0q',
  ]) {
    expect(parentCandidates('/vm/c.vhdx', locator({ absolutePath: path, volumePath: path }))).toEqual([]);
  }
  for (const path of ['\\\\server\\share\\p.vhdx', '\\p.vhdx', 'C:p.vhdx', '.\\p\0.vhdx']) {
    expect(parentCandidates('/vm/c.vhdx', locator({ relativePath: path }))).toEqual([]);
  }
});

test("the child's folder and what is allowed hold parents, their neighbours do not", () => {
  expect(mayHoldParent('/vm/a/c.vhdx', '/vm/a/p.vhdx', [])).toBe(true);
  expect(mayHoldParent('/vm/a/c.vhdx', '/vm/a/deep/p.vhdx', [])).toBe(true);
  expect(mayHoldParent('/vm/a/c.vhdx', '/vm/ab/p.vhdx', [])).toBe(false);
  expect(mayHoldParent('/vm/a/c.vhdx', '/vm/p.vhdx', ['/vm/b', '/vm/q.vhdx'])).toBe(false);
  expect(mayHoldParent('/vm/a/c.vhdx', '/vm/p.vhdx', ['/vm/p.vhdx'])).toBe(true);
  expect(mayHoldParent('/vm/a/c.vhdx', '/vm/..p/x.vhdx', ['/vm'])).toBe(true);
});
