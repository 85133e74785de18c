import { copyFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import {
  backupDisk,
  createVhd,
  enableChangeTracking,
  mergeIntoParent,
  openChain,
  queryChanges,
  takeReferencePoint,
} from '../../src/disk/index.ts';
import { seededRandom } from '../../src/store/testing/fault-store.ts';
import { TemporaryFolder } from '../vhdx/tools.ts';

const MIB = 2 ** 20;
const UNIT = 65536;
const SIZE = 24 * MIB;

async function contentOf(path: string): Promise<Uint8Array> {
  await using disk = openChain(path, { readOnly: true });
  const bytes = new Uint8Array(disk.sizeBytes);
  disk.read(0, bytes, 0, bytes.length);
  return bytes;
}

/** The units of the later content that are not what they were. */
function differences(before: Uint8Array, after: Uint8Array): number[] {
  const units: number[] = [];
  for (let offset = 0; offset < after.length; offset += UNIT) {
    if (Buffer.compare(before.subarray(offset, offset + UNIT), after.subarray(offset, offset + UNIT)) !== 0)
      units.push(offset / UNIT);
  }
  return units;
}

async function unitsSince(path: string, id: string): Promise<Set<number>> {
  const { ranges } = await queryChanges(path, id);
  const units = new Set<number>();
  for (const { offsetBytes, lengthBytes } of ranges) {
    for (let at = Math.floor(offsetBytes / UNIT); at * UNIT < offsetBytes + lengthBytes; at++) units.add(at);
  }
  return units;
}

test.each([1, 2])(
  'what is asked for covers what differs, over sessions, ids, snapshots, merges and resizes: life %i',
  async (seed) => {
    using folder = new TemporaryFolder();
    const random = seededRandom(seed);
    const base = folder.file('disk.vhdx');
    const copy = folder.file('copy.vhdx');
    let leaf = base;
    await createVhd(base, { sizeBytes: SIZE, blockSizeBytes: MIB });
    await enableChangeTracking(base);
    const ids = new Map<string, { content: Uint8Array; file: string }>();
    let backup = await backupDisk(base, copy);
    ids.set(String(backup.changeTrackingId), { content: await contentOf(base), file: base });
    for (let step = 0; step < 14; step++) {
      {
        await using disk = openChain(leaf);
        for (let count = 0; count < 6; count++) {
          const offset = Math.floor(random() * (disk.sizeBytes / 512)) * 512;
          const length = Math.min(disk.sizeBytes - offset, 512 * (1 + Math.floor(random() * 200)));
          const choice = random();
          if (choice < 0.7) disk.write(offset, new Uint8Array(length).fill(1 + (step % 250)), 0, length);
          else if (choice < 0.85) disk.writeZeroes(offset, length, random() < 0.5);
          else
            disk.trim(
              Math.floor(offset / MIB) * MIB,
              Math.min(2 * MIB, disk.sizeBytes - Math.floor(offset / MIB) * MIB),
            );
        }
        if (leaf === base && random() < 0.2) disk.resize(SIZE + Math.floor(random() * 8) * MIB);
        if (leaf === base && random() < 0.3) {
          leaf = folder.file(`layer${step}.avhdx`);
          disk.prepareChild(leaf);
          await disk.commitChild();
          disk.write(0, new Uint8Array(512).fill(step), 0, 512);
        }
      }
      if (leaf !== base && random() < 0.3) {
        await mergeIntoParent(leaf);
        leaf = base;
      }
      const content = await contentOf(leaf);
      for (const [id, then] of ids) {
        const told = await unitsSince(leaf, id);
        expect(
          differences(then.content, content).filter((unit) => !told.has(unit)),
          `step ${step}, ${id}`,
        ).toEqual([]);
      }
      if (random() < 0.5) ids.set(await takeReferencePoint(leaf), { content, file: leaf });
      if (ids.has(String(backup.changeTrackingId))) {
        backup = await backupDisk(leaf, copy, { sinceId: String(backup.changeTrackingId) });
        ids.set(String(backup.changeTrackingId), { content, file: leaf });
        expect(differences(await contentOf(copy), content)).toEqual([]);
      }
    }
    expect(ids.size).toBeGreaterThan(3);
  },
);

test('a restored pair of files goes its own way: its ids are not those of the original', async () => {
  using folder = new TemporaryFolder();
  const path = folder.file('disk.vhdx');
  await createVhd(path, { sizeBytes: SIZE });
  await enableChangeTracking(path);
  for (const ending of ['', '.rct']) copyFileSync(path + ending, `${folder.file('kept.vhdx')}${ending}`);
  const original = await takeReferencePoint(path);
  for (const ending of ['', '.rct']) copyFileSync(`${folder.file('kept.vhdx')}${ending}`, path + ending);
  const restored = await takeReferencePoint(path);
  expect(restored).not.toBe(original);
  await expect(queryChanges(path, original)).rejects.toMatchObject({ code: 'not-found' });
});

test('an older disk under a newer tracking file is found out', async () => {
  using folder = new TemporaryFolder();
  const path = folder.file('disk.vhdx');
  await createVhd(path, { sizeBytes: SIZE });
  await enableChangeTracking(path);
  copyFileSync(path, folder.file('kept.vhdx'));
  {
    await using disk = openChain(path);
    disk.write(0, new Uint8Array(512).fill(1), 0, 512);
  }
  const id = await takeReferencePoint(path);
  copyFileSync(folder.file('kept.vhdx'), path);
  await expect(queryChanges(path, id)).rejects.toMatchObject({ detail: { reason: 'tracking-broken' } });
});
