import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createVhd, diskDependencies, openChain } from './index.ts';

const MIB = 1024 * 1024;

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hv-dependencies-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const at = (name: string): string => join(folder, name);

/** base <- a <- b <- c, and a <- b2. */
async function makeFamily(): Promise<void> {
  await createVhd(at('base.vhdx'), { sizeBytes: 8 * MIB });
  for (const [child, parent] of ['a base', 'b a', 'b2 a', 'c b'].map((pair) => pair.split(' '))) {
    await createVhd(at(`${child}.vhdx`), { parentPath: at(`${parent}.vhdx`) });
  }
}

test('a disk stands on its parents, and its descendants stand on it', async () => {
  await makeFamily();
  const { chain, children, childrenComplete } = await diskDependencies(at('a.vhdx'));
  expect(chain.map(({ path, type, parentState }) => [path, type, parentState])).toEqual([
    [at('a.vhdx'), 'differencing', 'ok'],
    [at('base.vhdx'), 'dynamic', null],
  ]);
  expect(new Set(chain.map(({ virtualDiskId }) => virtualDiskId)).size).toBe(1);
  const ok = { parentState: 'ok' };
  expect(children).toEqual([
    { path: at('b.vhdx'), ...ok, children: [{ path: at('c.vhdx'), ...ok, children: [] }] },
    { path: at('b2.vhdx'), ...ok, children: [] },
  ]);
  expect(childrenComplete).toBe(true);
});

test('a parent that was changed is told from both sides, while somebody uses it', async () => {
  await makeFamily();
  const disk = openChain(at('a.vhdx'));
  disk.write(0, new Uint8Array(512).fill(1), 0, 512);
  const up = await diskDependencies(at('b2.vhdx'));
  expect(up.chain.map(({ parentState, inUse }) => [parentState, inUse])).toEqual([
    ['changed', false],
    ['ok', true],
    [null, false],
  ]);
  const down = await diskDependencies(at('a.vhdx'));
  expect(down.children.map(({ parentState }) => parentState)).toEqual(['changed', 'changed']);
  await disk.close();
});

test('a chain that is broken is shown as far as it goes, with what is wrong above', async () => {
  await makeFamily();
  const top = async (): Promise<unknown> => {
    const { chain } = await diskDependencies(at('c.vhdx'));
    const { path, parentState, parentPath } = chain.at(-1) ?? {};
    return { path, parentState, parentPath };
  };
  rmSync(at('base.vhdx'));
  expect(await top()).toEqual({ path: at('a.vhdx'), parentState: 'missing', parentPath: at('base.vhdx') });
  symlinkSync('/etc/shadow', at('base.vhdx'));
  expect(await top()).toEqual({ path: at('a.vhdx'), parentState: 'not-allowed', parentPath: '/etc/shadow' });
  rmSync(at('base.vhdx'));
  writeFileSync(at('base.vhdx'), 'text');
  expect(await top()).toEqual({ path: at('a.vhdx'), parentState: 'unreadable', parentPath: at('base.vhdx') });
  rmSync(at('base.vhdx'));
  copyFileSync(at('b.vhdx'), at('base.vhdx'));
  const circle = await diskDependencies(at('c.vhdx'));
  expect(circle.chain.at(-1)).toMatchObject({ path: at('base.vhdx'), parentState: 'cycle', parentPath: at('a.vhdx') });
  expect((await diskDependencies(at('a.vhdx'))).children.length).toBe(3);
});

test('a parent elsewhere is named, and followed where that is allowed', async () => {
  mkdirSync(at('vm'));
  await createVhd(at('base.vhdx'), { sizeBytes: 8 * MIB });
  await createVhd(at('vm/a.vhdx'), { parentPath: at('base.vhdx') });
  expect((await diskDependencies(at('vm/a.vhdx'))).chain).toMatchObject([
    { parentState: 'not-allowed', parentPath: at('base.vhdx') },
  ]);
  const allowed = await diskDependencies(at('vm/a.vhdx'), { allowParents: [at('base.vhdx')] });
  expect(allowed.chain.map(({ path }) => path)).toEqual([at('vm/a.vhdx'), at('base.vhdx')]);
});

test('a raw disk stands alone, and what is no disk is refused', async () => {
  await createVhd(at('raw.img'), { sizeBytes: 8 * MIB });
  expect(await diskDependencies(at('raw.img'))).toMatchObject({
    chain: [{ format: 'raw', virtualSizeBytes: 8 * MIB, parentState: null }],
    children: [],
  });
  writeFileSync(at('no.vhdx'), 'text');
  await expect(diskDependencies(at('no.vhdx'))).rejects.toMatchObject({ code: 'corrupt' });
  await expect(diskDependencies(at('gone.vhdx'))).rejects.toMatchObject({ code: 'not-found' });
});
