import { expect, test } from 'vitest';
import { randomGuid } from '../../src/binary/index.ts';
import { mergeLayers } from '../../src/disk/merge.ts';
import { createVhdx, locatorPairs, VhdxImage } from '../../src/formats/vhdx/index.ts';
import { type ByteStore, MemoryStore } from '../../src/store/index.ts';
import { FaultStore, ProcessDeath, seededRandom } from '../../src/store/testing/fault-store.ts';

const MIB = 1024 * 1024;
const TARGET_BYTES = 6 * MIB;
const LEAF_BYTES = 9 * MIB;

/** Leaf, middle and target (itself a child of a base that nobody writes to); the leaf is larger than the rest. */
async function makeChain(): Promise<{ readonly stores: MemoryStore[]; readonly expected: Buffer }> {
  const stores: MemoryStore[] = [];
  const images: VhdxImage[] = [];
  for (const [depth, sizeBytes] of [TARGET_BYTES, TARGET_BYTES, TARGET_BYTES, LEAF_BYTES].entries()) {
    const store = new MemoryStore();
    const below = images[0];
    const paths = { relativePath: '.\\p.vhdx', absolutePath: undefined };
    createVhdx(store, {
      type: below ? 'differencing' : 'dynamic',
      virtualSizeBytes: sizeBytes,
      blockSizeBytes: MIB,
      ...(below ? { locator: locatorPairs(below.contentId, randomGuid(), paths) } : {}),
    });
    const image = VhdxImage.open(store);
    if (below) image.setParent(below);
    const write = (offset: number, length: number): void => {
      image.write(offset, new Uint8Array(length).fill(depth * 16 + (offset % 13)), 0, length);
    };
    write(depth * 100_352 + 512, 4096);
    write(2 * MIB + depth * 8192, 3 * 4096);
    write((3 + depth) * MIB - 2048, 4096);
    if (depth === 2) image.writeZeroes(MIB, MIB, true);
    if (depth === 3) write(8 * MIB, MIB);
    await image.close();
    stores.unshift(store);
    images.unshift(openChain([...stores], [])[0] as VhdxImage); // the chain has just been given its leaf
  }
  const expected = Buffer.alloc(LEAF_BYTES);
  images[0]?.read(0, expected, 0, LEAF_BYTES);
  return { stores, expected };
}

/** Leaf first; the depths named are opened for writing. */
function openChain(stores: readonly ByteStore[], writable: readonly number[], hostRun = randomGuid()): VhdxImage[] {
  const images = stores.map((store, depth) => VhdxImage.open(store, { readOnly: !writable.includes(depth), hostRun }));
  images.forEach((image, depth) => {
    const parent = images[depth + 1];
    if (!parent) return;
    expect(image.parentReference?.linkages, `the parent of file ${depth}`).toContain(parent.contentId);
    image.setParent(parent);
  });
  return images;
}

function contentOf(image: VhdxImage): Buffer {
  const bytes = Buffer.alloc(image.sizeBytes);
  image.read(0, bytes, 0, bytes.length);
  return bytes;
}

async function merge(stores: readonly ByteStore[], hostRun: string): Promise<void> {
  const images = openChain(stores, [1, 2], hostRun);
  await mergeLayers(images.slice(0, 3));
  for (const image of images) await image.close();
}

async function checkAndFinish(stores: readonly MemoryStore[], expected: Buffer, hostRun: string): Promise<void> {
  const [leaf] = openChain(stores, [], hostRun);
  expect(leaf && contentOf(leaf).equals(expected)).toBe(true);
  await merge(stores, hostRun);
  const [merged] = openChain(stores.slice(2), []);
  expect(merged && contentOf(merged).equals(expected)).toBe(true);
}

test('a merge of two files into a third is sound after death and power cut at every write, and can be run again', async () => {
  const { stores, expected } = await makeChain();
  const hostRun = randomGuid();
  const random = seededRandom(11);
  let died = true;
  let deaths = 0;
  for (let budget = 1; died; budget++) {
    const faults = stores.map((store) => new FaultStore(store));
    let left = budget;
    for (const store of faults) {
      store.afterChange = () => {
        if (--left <= 0) throw new ProcessDeath();
      };
    }
    try {
      await merge(faults, hostRun);
      died = false;
    } catch (error) {
      if (!(error instanceof ProcessDeath)) throw error;
      deaths++;
    }
    expect(faults[3]?.changes).toBe(0);
    const dead = faults.map((store) => store.content());
    await checkAndFinish(dead, expected, hostRun);
    const cut = faults.map((store) => {
      const replay = store.replayer();
      replay.advance(store.events.length);
      return replay.afterPowerCut(random);
    });
    await checkAndFinish(cut, expected, randomGuid());
  }
  expect(deaths).toBeGreaterThan(40);
});
