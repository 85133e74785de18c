import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { seededRandom } from '../store/testing/fault-store.ts';
import { DiskFork } from './fork.ts';
import { createVhd, FileDisks, forkVhd, openChain } from './index.ts';
import { type ChainLayer, openImageChain } from './open-chain.ts';

const MIB = 1024 * 1024;

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hv-fork-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const at = (name: string): string => join(folder, name);

async function fill(path: string, offset: number, length: number, value: number): Promise<void> {
  const disk = openChain(path);
  disk.write(offset, new Uint8Array(length).fill(value), 0, length);
  await disk.close();
}

async function contentOf(path: string): Promise<Buffer> {
  const disk = openChain(path, { readOnly: true });
  const bytes = Buffer.alloc(disk.sizeBytes);
  disk.read(0, bytes, 0, bytes.length);
  await disk.close();
  return bytes;
}

test.each(['vhdx', 'vhd'])(
  'a %s fork holds the same, stands on the same parent, and goes on by itself',
  async (format) => {
    const name = (base: string): string => at(`${base}.${format}`);
    await createVhd(name('base'), { sizeBytes: 16 * MIB });
    await fill(name('base'), 0, 3 * MIB, 1);
    await createVhd(name('a'), { parentPath: name('base') });
    await fill(name('a'), MIB + 512, 4096, 2);
    await createVhd(name('b'), { parentPath: name('a') });
    await fill(name('b'), 2 * MIB, MIB, 3);
    const disk = openChain(name('b'));
    disk.writeZeroes(0, MIB, true);
    await disk.close();
    const expected = await contentOf(name('b'));

    expect(await forkVhd(name('b'), name('fork'))).toMatchObject({ path: name('fork'), parentPath: name('a') });
    expect(await forkVhd(name('b'), name('two'), { depth: 2 })).toMatchObject({ parentPath: name('base') });
    expect(await forkVhd(name('b'), name('whole'), { depth: 3 })).toMatchObject({ type: 'dynamic', parentPath: null });
    for (const made of ['fork', 'two', 'whole']) expect((await contentOf(name(made))).equals(expected)).toBe(true);
    await fill(name('fork'), 0, 512, 9);
    await fill(name('b'), 0, 512, 8);
    expect([(await contentOf(name('fork')))[0], (await contentOf(name('b')))[0]]).toEqual([9, 8]);
    expect((await contentOf(name('whole'))).equals(expected)).toBe(true);
  },
);

test.each(['vhdx', 'vhd'])('a %s fork takes the place of a disk that is there, when it is whole', async (format) => {
  const name = (base: string): string => at(`${base}.${format}`);
  await createVhd(name('base'), { sizeBytes: 16 * MIB });
  await fill(name('base'), 0, 3 * MIB, 1);
  await createVhd(name('a'), { parentPath: name('base') });
  await fill(name('a'), MIB, 8 * MIB, 2);
  await createVhd(name('old'), { sizeBytes: 16 * MIB });
  await fill(name('old'), 0, 16 * MIB, 7);
  chmodSync(name('old'), 0o604);
  const [expected, source, old] = [await contentOf(name('a')), readFileSync(name('a')), readFileSync(name('old'))];
  const before = readdirSync(folder);
  const files = new FileDisks();

  const refused = async (newName: string, code: string) => {
    await expect(forkVhd(name('a'), name(newName), { existing: true })).rejects.toMatchObject({ code });
  };
  await refused('none', 'not-found');
  await refused('a', 'invalid-argument');
  await refused('base', 'invalid-argument');
  await createVhd(name('larger'), { sizeBytes: 32 * MIB });
  await refused('larger', 'invalid-argument');
  rmSync(name('larger'));
  const reader = openChain(name('old'), { readOnly: true });
  await refused('old', 'in-use');
  await reader.close();
  await createVhd(name('child'), { parentPath: name('old') });
  const onto = { existing: true } as const;
  await expect(files.fork(name('a'), name('old'), onto)).rejects.toMatchObject({ code: 'in-use' });
  rmSync(name('child'));
  await forkVhd(name('a'), name('old'), { ...onto, dryRun: true });
  // Cut short anywhere, both files are what they were.
  const controller = new AbortController();
  const onProgress = ({ done }: { readonly done: number }) => (done > 2 * MIB ? controller.abort() : undefined);
  const cut = forkVhd(name('a'), name('old'), { ...onto, signal: controller.signal, onProgress });
  await expect(cut).rejects.toMatchObject({ code: 'aborted' });
  expect(readFileSync(name('old')).equals(old)).toBe(true);
  expect(readdirSync(folder)).toEqual(before);

  symlinkSync(name('old'), name('link'));
  expect(await files.fork(name('a'), name('link'), onto)).toMatchObject({
    path: name('old'),
    parentPath: name('base'),
    type: 'differencing',
  });
  expect((await contentOf(name('old'))).equals(expected)).toBe(true);
  expect(statSync(name('old')).mode & 0o777).toBe(0o604);
  expect(readFileSync(name('a')).equals(source)).toBe(true);
  expect(readdirSync(folder)).toEqual([...before, `link.${format}`].sort());
});

test('a fork that is refused, planned, aborted or abandoned leaves nothing', async () => {
  await createVhd(at('base.vhdx'), { sizeBytes: 16 * MIB });
  await fill(at('base.vhdx'), 0, 8 * MIB, 1);
  await createVhd(at('taken.vhdx'), { sizeBytes: 16 * MIB });
  const before = readdirSync(folder);
  await expect(forkVhd(at('base.vhdx'), at('taken.vhdx'))).rejects.toMatchObject({ code: 'already-exists' });
  await expect(forkVhd(at('base.vhdx'), at('new.vhdx'), { depth: 2 })).rejects.toMatchObject({
    code: 'invalid-argument',
  });
  await expect(forkVhd(at('base.vhdx'), at('no/new.vhdx'))).rejects.toMatchObject({ code: 'not-found' });
  await forkVhd(at('base.vhdx'), at('new.vhdx'), { dryRun: true });
  const abort = new AbortController();
  const { signal } = abort;
  await expect(
    forkVhd(at('base.vhdx'), at('new.vhdx'), { signal, onProgress: () => abort.abort() }),
  ).rejects.toMatchObject({ code: 'aborted' });
  const disk = openChain(at('base.vhdx'));
  await expect(forkVhd(at('base.vhdx'), at('new.vhdx'))).rejects.toMatchObject({ code: 'in-use' });
  await disk.close();
  expect(readdirSync(folder)).toEqual(before);
  expect(existsSync(at('new.vhdx'))).toBe(false);
});

test('a fork of a disk that is being written to holds every write until it is complete', async () => {
  const random = seededRandom(5);
  await createVhd(at('base.vhdx'), { sizeBytes: 8 * MIB, blockSizeBytes: MIB });
  await fill(at('base.vhdx'), 0, 3 * MIB, 1);
  await createVhd(at('leaf.vhdx'), { parentPath: at('base.vhdx') });
  await fill(at('leaf.vhdx'), 2 * MIB, 4 * MIB, 2);
  const layers: ChainLayer[] = openImageChain(at('leaf.vhdx'), { readOnly: false, allowParents: [] });
  const leaf = layers[0];
  if (!leaf) throw new Error('a chain has a leaf');
  const fork = new DiskFork(layers, at('fork.vhdx'));
  while (!fork.copy.isComplete) {
    fork.step();
    for (let count = 0; count < 3; count++) {
      const offset = Math.floor(random() * 8 * MIB - 100_000);
      const length = 1 + Math.floor(random() * 70_000);
      const bytes = new Uint8Array(length).fill(1 + Math.floor(random() * 255));
      if (offset < 0) continue;
      if (random() < 0.3) {
        leaf.image.writeZeroes(offset, length, true);
        fork.copy.zeroed(offset, length, true);
      } else {
        leaf.image.write(offset, bytes, 0, length);
        fork.copy.wrote(offset, bytes, 0, length);
      }
    }
  }
  expect(existsSync(at('fork.vhdx'))).toBe(false);
  const made = fork.complete();
  fork.abandon();
  await made.image.close();
  for (const { image } of layers) await image.close();
  expect((await contentOf(at('fork.vhdx'))).equals(await contentOf(at('leaf.vhdx')))).toBe(true);
});
