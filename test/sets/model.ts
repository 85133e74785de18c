import { expect } from 'vitest';
import { randomGuid } from '../../src/binary/index.ts';
import {
  applyVhdSetSnapshot,
  createVhd,
  createVhdSet,
  deleteVhdSetSnapshot,
  forkVhd,
  mergeVhd,
  type OpenDisk,
  openVhd,
  optimizeVhdSet,
  setParent,
  takeVhdSetSnapshot,
  vhdSetInfo,
} from '../../src/disk/index.ts';
import { seededRandom } from '../../src/store/testing/fault-store.ts';
import { TemporaryFolder } from '../vhdx/tools.ts';

const SIZE_BYTES = 4 * 2 ** 20;

/** A disk's contents as a plain array, and the changes that a disk can make. */
class Model {
  readonly random: () => number;
  content: Buffer = Buffer.alloc(SIZE_BYTES);

  constructor(seed: number) {
    this.random = seededRandom(seed);
  }

  below(limit: number): number {
    return Math.floor(this.random() * limit);
  }

  pick<T>(items: readonly T[]): T | undefined {
    return items[this.below(items.length)];
  }

  /** A few writes and zeroes of any size and alignment, to both. */
  change(disk: OpenDisk): void {
    this.content = Buffer.from(this.content);
    for (let count = 1 + this.below(3); count > 0; count--) {
      const offset = this.below(SIZE_BYTES);
      const length = Math.min(SIZE_BYTES - offset, 1 + this.below(this.random() < 0.2 ? 1_500_000 : 9_000));
      if (this.random() < 0.25) {
        disk.writeZeroes(offset, length, this.random() < 0.5);
        this.content.fill(0, offset, offset + length);
      } else {
        const bytes = new Uint8Array(length).fill(1 + this.below(255));
        disk.write(offset, bytes, 0, length);
        this.content.set(bytes, offset);
      }
    }
  }
}

async function mustHold(
  path: string,
  expected: Buffer,
  where: string,
  allowParents: readonly string[] = [],
): Promise<void> {
  const disk = await openVhd(path, { readOnly: true, allowParents });
  const bytes = Buffer.alloc(SIZE_BYTES);
  disk.read(0, bytes, 0, SIZE_BYTES);
  await disk.close();
  expect(bytes.equals(expected), where).toBe(true);
}

/** Random changes of a VHD Set, each looked at through the set and through every snapshot. */
export async function runSetModel(seed: number, operations: number): Promise<void> {
  using folder = new TemporaryFolder();
  const set = folder.file('disk.vhds');
  await createVhdSet(set, { sizeBytes: SIZE_BYTES, blockSizeBytes: 2 ** 20 });
  const model = new Model(seed);
  const snapshots = new Map<string, Buffer>();
  const writeable = new Set<string>();
  for (let step = 0; step < operations; step++) {
    const chance = model.random();
    const id = model.pick([...snapshots.keys()]);
    const fresh = randomGuid();
    let what = 'write';
    if (chance < 0.35 || (id === undefined && chance >= 0.6)) {
      const disk = await openVhd(set);
      model.change(disk);
      await disk.close();
    } else if (chance < 0.6) {
      const isWriteable = model.random() < 0.3;
      what = isWriteable ? 'take writeable' : 'take';
      await takeVhdSetSnapshot(set, { snapshotId: fresh, isWriteable });
      snapshots.set(fresh, model.content);
      if (isWriteable) writeable.add(fresh);
    } else if (chance < 0.75 && id !== undefined) {
      const isKept = model.random() < 0.4;
      what = isKept ? 'apply and keep' : 'apply';
      await applyVhdSetSnapshot(set, id, { leafSnapshotId: isKept ? fresh : undefined });
      if (isKept) {
        snapshots.set(fresh, model.content);
        writeable.add(fresh);
      }
      model.content = snapshots.get(id) ?? model.content;
    } else if (chance < 0.8 && id !== undefined && writeable.has(id)) {
      what = 'apply as itself';
      try {
        const content = snapshots.get(id) ?? model.content;
        await applyVhdSetSnapshot(set, id, { isWriteable: true });
        snapshots.delete(id);
        model.content = content;
      } catch (error) {
        expect(error).toMatchObject({ code: 'invalid-state' });
      }
    } else if (chance < 0.9 && id !== undefined) {
      what = 'delete';
      await deleteVhdSetSnapshot(set, id, { persistRct: model.random() < 0.2 });
      snapshots.delete(id);
    } else {
      what = 'optimize';
      await optimizeVhdSet(set);
    }
    const where = `seed ${seed}, step ${step}: ${what}`;
    await mustHold(set, model.content, where);
    const info = await vhdSetInfo(set);
    const kept = info.snapshots.filter(({ path }) => path !== null);
    expect(new Set(kept.map((one) => one.id)), where).toEqual(new Set(snapshots.keys()));
    if (step % 4 !== 3) continue;
    for (const one of kept) {
      await mustHold(one.path ?? '', snapshots.get(one.id) ?? model.content, `${where}, ${one.id}`, [folder.path]);
    }
  }
}

/**
 * Random changes of a plain chain of differencing disks: children, merges at any place and depth, forks, moves. The leaf
 * is looked at after each, every file below it after each fourth and at the end.
 */
export async function runChainModel(seed: number, operations: number, format: 'vhdx' | 'vhd'): Promise<void> {
  using folder = new TemporaryFolder();
  const model = new Model(seed);
  let made = 0;
  const newPath = (): string => folder.file(`${made++}.${format}`);
  /** Lowest first. */
  let chain: { readonly path: string; readonly content: Buffer }[] = [];
  const leaf = (): string => chain.at(-1)?.path ?? '';
  const first = newPath();
  await createVhd(first, { sizeBytes: SIZE_BYTES, ...(format === 'vhdx' ? { blockSizeBytes: 2 ** 20 } : {}) });
  chain.push({ path: first, content: model.content });
  for (let step = 0; step < operations; step++) {
    const chance = model.random();
    let what = 'write';
    if (chance < 0.4) {
      const disk = await openVhd(leaf());
      model.change(disk);
      await disk.close();
      chain = [...chain.slice(0, -1), { path: leaf(), content: model.content }];
    } else if (chance < 0.65 || chain.length === 1) {
      what = 'child';
      const path = newPath();
      await createVhd(path, { parentPath: leaf() });
      chain.push({ path, content: model.content });
    } else if (chance < 0.85) {
      const source = 1 + model.below(chain.length - 1);
      const depth = 1 + model.below(source);
      what = `merge of ${source} over ${depth} of ${chain.length}`;
      await mergeVhd(chain[source]?.path ?? '', { depth });
      const target = { path: chain[source - depth]?.path ?? '', content: chain[source]?.content ?? model.content };
      chain = [...chain.slice(0, source - depth), target, ...chain.slice(source + 1)];
    } else if (chance < 0.95) {
      const depth = 1 + model.below(chain.length);
      what = `fork of ${depth}`;
      const path = newPath();
      await forkVhd(leaf(), path, { depth });
      chain = [...chain.slice(0, chain.length - depth), { path, content: model.content }];
    } else {
      what = 'link anew';
      const at = 1 + model.below(chain.length - 1);
      await setParent(chain[at]?.path ?? '', chain[at - 1]?.path ?? '');
    }
    const isWhole = step % 4 === 3 || step === operations - 1;
    for (const { path, content } of isWhole ? chain : chain.slice(-1))
      await mustHold(path, content, `${format}, seed ${seed}, step ${step}: ${what}`);
  }
}
