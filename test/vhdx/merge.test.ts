import { expect, test } from 'vitest';
import { randomGuid } from '../../src/binary/index.ts';
import { mergeImages } from '../../src/disk/merge.ts';
import { createVhdx, locatorPairs, VhdxImage } from '../../src/formats/vhdx/index.ts';
import type { ByteStore } from '../../src/store/index.ts';
import { MemoryStore } from '../../src/store/index.ts';
import { FaultStore, ProcessDeath, seededRandom } from '../../src/store/testing/fault-store.ts';

const MIB = 1024 * 1024;
const SIZE_BYTES = 10 * MIB;
const HOST_RUN = randomGuid();

/** A parent, and a child with partial, whole, zeroed and untouched blocks. */
async function makePair(): Promise<{ parent: MemoryStore; child: MemoryStore; expected: Uint8Array }> {
  const parent = new MemoryStore();
  const expected = new Uint8Array(SIZE_BYTES);
  createVhdx(parent, { type: 'dynamic', virtualSizeBytes: SIZE_BYTES, blockSizeBytes: 2 * MIB });
  const below = VhdxImage.open(parent);
  const write = (image: VhdxImage, offset: number, length: number, value: number): void => {
    const bytes = new Uint8Array(length).fill(value);
    image.write(offset, bytes, 0, length);
    expected.set(bytes, offset);
  };
  write(below, 0, 3 * MIB, 1);
  write(below, 8 * MIB, MIB, 2);
  await below.close();
  const child = new MemoryStore();
  createVhdx(child, {
    type: 'differencing',
    virtualSizeBytes: SIZE_BYTES,
    blockSizeBytes: MIB,
    locator: locatorPairs(below.header.dataWriteGuid, randomGuid(), {
      relativePath: '.\\p.vhdx',
      absolutePath: undefined,
    }),
  });
  const above = VhdxImage.open(child, { hostRun: HOST_RUN });
  above.setParent(VhdxImage.open(parent, { readOnly: true }));
  for (let index = 0; index < 6; index++) write(above, index * 100_352 + 512, 4096, 3 + index);
  write(above, 4 * MIB, MIB, 11);
  above.writeZeroes(8 * MIB, MIB, true);
  expected.fill(0, 8 * MIB, 9 * MIB);
  await above.close();
  return { parent, child, expected };
}

function openPair(
  parentStore: ByteStore,
  childStore: ByteStore,
  hostRun: string,
): { parent: VhdxImage; child: VhdxImage } {
  const parent = VhdxImage.open(parentStore, { hostRun });
  const child = VhdxImage.open(childStore, { hostRun });
  child.setParent(parent);
  return { parent, child };
}

function contentOf(image: VhdxImage): Buffer {
  const bytes = Buffer.alloc(SIZE_BYTES);
  image.read(0, bytes, 0, SIZE_BYTES);
  return bytes;
}

async function checkAndFinish(
  parentStore: MemoryStore,
  childStore: MemoryStore,
  expected: Uint8Array,
  hostRun: string,
): Promise<void> {
  const { parent, child } = openPair(parentStore, childStore, hostRun);
  expect(child.metadata.locator?.linkages).toContain(parent.header.dataWriteGuid);
  expect(contentOf(child).equals(expected)).toBe(true);
  await mergeImages(child, parent);
  await child.close();
  await parent.close();
  expect(contentOf(VhdxImage.open(parentStore, { readOnly: true })).equals(expected)).toBe(true);
}

test('a merge that dies or loses power after any write leaves a sound pair and can be run again', async () => {
  const pair = await makePair();
  const random = seededRandom(4);
  let died = true;
  let deaths = 0;
  for (let budget = 1; died; budget++) {
    const parentStore = new FaultStore(pair.parent);
    const childStore = new FaultStore(pair.child);
    let left = budget;
    const count = (): void => {
      if (--left <= 0) throw new ProcessDeath();
    };
    parentStore.afterChange = count;
    childStore.afterChange = count;
    try {
      const { parent, child } = openPair(parentStore, childStore, HOST_RUN);
      await mergeImages(child, parent);
      await child.close();
      await parent.close();
      died = false;
    } catch (error) {
      if (!(error instanceof ProcessDeath)) throw error;
      deaths++;
    }
    await checkAndFinish(parentStore.content(), childStore.content(), pair.expected, HOST_RUN);
    const [parentReplay, childReplay] = [parentStore.replayer(), childStore.replayer()];
    parentReplay.advance(parentStore.events.length);
    childReplay.advance(childStore.events.length);
    await checkAndFinish(
      parentReplay.afterPowerCut(random),
      childReplay.afterPowerCut(random),
      pair.expected,
      randomGuid(),
    );
  }
  expect(deaths).toBeGreaterThan(25);
});
