import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  changeTrackingState,
  createVhd,
  enableChangeTracking,
  mergeVhd,
  openChain,
  queryChanges,
  setParent,
  takeReferencePoint,
} from '../../src/disk/index.ts';
import { seededRandom } from '../../src/store/testing/fault-store.ts';
import { TemporaryFolder } from '../vhdx/tools.ts';

const MIB = 2 ** 20;
const UNIT = 64 * 1024;
const SIZE = 24 * MIB;

async function contentOf(path: string, allowParents: readonly string[] = []): Promise<Buffer> {
  await using disk = openChain(path, { readOnly: true, allowParents });
  const bytes = Buffer.alloc(disk.sizeBytes);
  disk.read(0, bytes, 0, bytes.length);
  return bytes;
}

async function unitsSince(path: string, id: string): Promise<Set<number>> {
  const units = new Set<number>();
  for (const { offsetBytes, lengthBytes } of (await queryChanges(path, id)).ranges) {
    for (let at = offsetBytes; at < offsetBytes + lengthBytes; at += 512) units.add(Math.floor(at / UNIT));
  }
  return units;
}

function differences(before: Buffer, after: Buffer): number[] {
  const units: number[] = [];
  for (let at = 0; at < Math.max(before.length, after.length); at += UNIT) {
    if (!before.subarray(at, at + UNIT).equals(after.subarray(at, at + UNIT))) units.push(at / UNIT);
  }
  return units;
}

/** base <- middle <- leaf, written to and with ids in each of the tracked ones. */
async function makeChain(folder: string, seed: number, tracked: readonly string[]): Promise<Map<string, Buffer>> {
  const random = seededRandom(seed);
  const ids = new Map<string, Buffer>();
  for (const [index, name] of ['base', 'middle', 'leaf'].entries()) {
    const path = join(folder, `${name}.vhdx`);
    const parent = ['base', 'middle'][index - 1];
    if (parent === undefined) await createVhd(path, { sizeBytes: SIZE, blockSizeBytes: MIB });
    else await createVhd(path, { parentPath: join(folder, `${parent}.vhdx`) });
    // Something is there before the tracking begins.
    for (let round = 0; round < 5; round++) {
      {
        await using disk = openChain(path);
        for (let count = 0; count < 4; count++) {
          const at = Math.floor(random() * ((SIZE - MIB) / 512)) * 512;
          const length = 512 * (1 + Math.floor(random() * 300));
          if (random() < 0.7) disk.write(at, Buffer.alloc(length, 1 + Math.floor(random() * 250)), 0, length);
          else if (random() < 0.5) disk.writeZeroes(at, length, true);
          else disk.trim(Math.floor(at / MIB) * MIB, MIB);
        }
      }
      if (!tracked.includes(name)) continue;
      if (round === 0) await enableChangeTracking(path);
      ids.set(await takeReferencePoint(path), await contentOf(path));
    }
  }
  return ids;
}

test.each([
  [1, ['base', 'middle', 'leaf'], 2],
  [2, ['base', 'leaf'], 2],
  [3, ['leaf'], 2],
  [4, ['middle', 'leaf'], 1],
  [5, ['base', 'middle', 'leaf'], 1],
] as const)(
  'ids of merged files are answered for where they went: seed %i, %j tracked, %i merged',
  async (seed, tracked, depth) => {
    using folder = new TemporaryFolder();
    const leaf = folder.file('leaf.vhdx');
    const ids = await makeChain(folder.path, seed, tracked);
    const content = await contentOf(leaf);
    const before = new Map<string, Set<number>>();
    for (const id of ids.keys()) before.set(id, await unitsSince(leaf, id));
    const { mostRecentId } = await changeTrackingState(leaf);
    const { path } = await mergeVhd(leaf, { depth });
    expect((await contentOf(path)).equals(content)).toBe(true);
    for (const [id, then] of ids) {
      const told = await unitsSince(path, id);
      expect(
        differences(then, content).filter((unit) => !told.has(unit)),
        id,
      ).toEqual([]);
      // Nor does it say more than it did.
      expect(
        [...told].filter((unit) => !before.get(id)?.has(unit)),
        id,
      ).toEqual([]);
    }
    expect(await changeTrackingState(path)).toMatchObject({ enabled: true, mostRecentId });
    // And they go on.
    {
      await using disk = openChain(path);
      disk.write(SIZE - UNIT, Buffer.alloc(512, 255), 0, 512);
    }
    for (const id of ids.keys()) expect((await unitsSince(path, id)).has((SIZE - UNIT) / UNIT)).toBe(true);
  },
);

test('a disk that stood on the merged file is asked about the ids of both', async () => {
  using folder = new TemporaryFolder();
  const ids = await makeChain(folder.path, 6, ['base', 'middle', 'leaf']);
  const leaf = folder.file('leaf.vhdx');
  const content = await contentOf(leaf);
  expect((await mergeVhd(folder.file('middle.vhdx'))).relinkedPaths).toEqual([leaf]);
  for (const [id, then] of ids) {
    const told = await unitsSince(leaf, id);
    expect(
      differences(then, content).filter((unit) => !told.has(unit)),
      id,
    ).toEqual([]);
  }
});

test('another parent counts as a change of everything, after a merge too', async () => {
  using folder = new TemporaryFolder();
  const ids = await makeChain(folder.path, 7, ['leaf']);
  const other = folder.file('other.vhdx');
  await createVhd(other, { sizeBytes: SIZE, blockSizeBytes: MIB });
  {
    await using disk = openChain(other);
    disk.write(0, Buffer.alloc(SIZE, 9), 0, SIZE);
  }
  const leaf = folder.file('leaf.vhdx');
  await setParent(leaf, other, { ignoreMismatch: true });
  await mergeVhd(leaf);
  const content = await contentOf(other);
  for (const [id, then] of ids) {
    const told = await unitsSince(other, id);
    expect(differences(then, content).filter((unit) => !told.has(unit))).toEqual([]);
  }
});

test('a merge that died at any of its steps, and is done again, misses no change', async () => {
  using folder = new TemporaryFolder();
  const chain = join(folder.path, 'chain');
  mkdirSync(chain);
  const ids = await makeChain(chain, 8, ['base', 'middle', 'leaf']);
  const content = await contentOf(join(chain, 'leaf.vhdx'));
  const left: string[] = [];
  const keep = (phase: string): void => {
    const copy = join(folder.path, `died-${left.length}-${phase}`);
    cpSync(chain, copy, { recursive: true });
    left.push(copy);
    const journal = join(copy, 'leaf.vhdx.hv-merge');
    if (phase !== 'link' || !existsSync(journal)) return;
    // The moment before: the ids are carried over, and the journal does not say yet that all is copied.
    const again = join(folder.path, `died-${left.length}-carried`);
    cpSync(copy, again, { recursive: true });
    const text = readFileSync(journal, 'utf8');
    expect(text).toContain('"finish"');
    writeFileSync(join(again, 'leaf.vhdx.hv-merge'), text.replace('"finish"', '"copy"'));
    left.push(again);
  };
  await mergeVhd(join(chain, 'leaf.vhdx'), { depth: 2, onProgress: ({ phase }) => keep(phase) });
  expect(left.length).toBeGreaterThan(3);
  for (const copy of left) {
    // Paths in the journal are those of the original.
    rmSync(chain, { recursive: true });
    cpSync(copy, chain, { recursive: true });
    const leaf = join(chain, 'leaf.vhdx');
    const base = join(chain, 'base.vhdx');
    if (existsSync(leaf)) {
      for (const [id, then] of ids) {
        const told = await unitsSince(leaf, id);
        expect(
          differences(then, content).filter((unit) => !told.has(unit)),
          `${copy}, before`,
        ).toEqual([]);
      }
    }
    if (existsSync(`${leaf}.hv-merge`)) await mergeVhd(leaf, { depth: 2 });
    expect((await contentOf(base)).equals(content), copy).toBe(true);
    for (const [id, then] of ids) {
      const told = await unitsSince(base, id);
      expect(
        differences(then, content).filter((unit) => !told.has(unit)),
        copy,
      ).toEqual([]);
    }
  }
});
