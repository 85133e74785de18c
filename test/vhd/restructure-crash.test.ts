import { describe, expect, test } from 'vitest';
import { randomGuid } from '../../src/binary/index.ts';
import type { DiskType, ParentDisk } from '../../src/formats/disk-image.ts';
import { createVhdImage, VhdImage } from '../../src/formats/vhd/index.ts';
import { type ByteStore, MemoryStore } from '../../src/store/index.ts';
import { FaultStore, seededRandom } from '../../src/store/testing/fault-store.ts';
import { contentOf, KIB, MIB } from './model.ts';

const BLOCK = 512 * KIB;
/** Its last block is cut off in the middle. */
const SIZE_BYTES = 6 * MIB + 64 * KIB;
const PARENT_BYTE = 0x50;

const parent: ParentDisk = {
  sizeBytes: SIZE_BYTES,
  read: (_offset, target, start, length) => target.fill(PARENT_BYTE, start, start + length),
  *segments(offset, length, depth) {
    yield { offset, length, kind: 'data', depth, store: undefined, fileOffset: offset };
  },
};

const PATHS = ['first', 'second, which has a much longer name than the first one had'].map((name) => ({
  uniqueId: randomGuid(),
  timestamp: 7,
  name,
  paths: { relativePath: `.\\${name}`, absolutePath: `\\vm\\${name}` },
}));

function open(store: ByteStore, type: DiskType): VhdImage {
  const image = VhdImage.open(store);
  if (type === 'differencing') image.setParent(parent);
  return image;
}

/** A disk whose blocks lie in the file in no order, with gaps between them; and what it reads. */
async function makeDisk(type: DiskType): Promise<{ store: MemoryStore; expected: Buffer }> {
  const store = new MemoryStore();
  createVhdImage(store, {
    type,
    virtualSizeBytes: SIZE_BYTES,
    ...(type === 'fixed' ? {} : { blockSizeBytes: BLOCK }),
    ...(type === 'differencing' ? { parent: PATHS[0] } : {}),
  });
  const image = open(store, type);
  for (const block of [3, 12, 0, 7, 5, 9, 11]) {
    const bytes = new Uint8Array(40 * KIB).fill(block + 1);
    image.write(block * BLOCK + 16 * KIB, bytes, 0, bytes.length);
  }
  image.write(SIZE_BYTES - 512, new Uint8Array(512).fill(0xe1), 0, 512);
  if (type === 'dynamic') for (const block of [7, 0, 5]) image.trim(block * BLOCK, BLOCK);
  const expected = contentOf(image);
  await image.close();
  return { store, expected };
}

/** Does the work, then looks at the file as it was at every moment of it, after death and after a power cut. */
async function crashEverywhere(
  type: DiskType,
  work: (image: VhdImage) => Promise<void> | void,
  check: (image: VhdImage, before: Buffer, where: string) => void,
): Promise<void> {
  const { store: initial, expected } = await makeDisk(type);
  const store = new FaultStore(initial);
  const image = open(store, type);
  await work(image);
  await image.close();
  const random = seededRandom(8);
  const replay = store.replayer();
  for (let events = 0; events <= store.events.length; events++) {
    replay.advance(events);
    for (let round = 0; round < 4; round++) {
      const content = round === 0 ? replay.content() : replay.afterPowerCut(random);
      const where = `${round === 0 ? 'death' : 'power cut'} after event ${events} of ${store.events.length}`;
      check(VhdImageReadOnly(content, type), expected, where);
      const writing = open(content, type);
      check(writing, expected, where);
      // It can be written on, and that is all that differs.
      writing.write(2 * BLOCK, new Uint8Array(512).fill(0x77), 0, 512);
      await writing.close();
      const again = open(content, type);
      const sector = new Uint8Array(512);
      again.read(2 * BLOCK, sector, 0, 512);
      expect(sector.every((byte) => byte === 0x77)).toBe(true);
      const old = new Uint8Array(512);
      old.set(expected.subarray(2 * BLOCK, 2 * BLOCK + 512));
      again.write(2 * BLOCK, old, 0, 512);
      check(again, expected, `${where}, written on`);
    }
  }
}

function VhdImageReadOnly(content: MemoryStore, type: DiskType): VhdImage {
  const image = VhdImage.open(content.clone(), { readOnly: true });
  if (type === 'differencing') image.setParent(parent);
  return image;
}

function mustRead(image: VhdImage, expected: Uint8Array, where: string): void {
  const got = contentOf(image);
  if (Buffer.compare(got, expected) === 0) return;
  const at = got.findIndex((byte, index) => byte !== expected[index]);
  throw new Error(`byte ${at} is ${got[at]} instead of ${expected[at]}: ${where}`);
}

describe('a change of the file’s structure leaves the old or the new disk at every moment', () => {
  for (const type of ['dynamic', 'fixed'] as const) {
    // The fixed one is small: it takes its space at once.
    for (const newSize of [SIZE_BYTES + 512, type === 'fixed' ? 20 * MIB : 3000 * MIB, SIZE_BYTES - 3 * MIB - 512]) {
      test(`${type}, resized from ${SIZE_BYTES} to ${newSize} bytes`, async () => {
        await crashEverywhere(
          type,
          (image) => image.resize(newSize),
          (image, before, where) => {
            expect([SIZE_BYTES, newSize], where).toContain(image.sizeBytes);
            const kept = Math.min(newSize, SIZE_BYTES);
            const head = Buffer.alloc(kept);
            image.read(0, head, 0, kept);
            expect(head.equals(before.subarray(0, kept)), where).toBe(true);
            // What was gained reads as zero.
            for (let at = SIZE_BYTES; at < image.sizeBytes; at += MIB) {
              const got = Buffer.alloc(Math.min(MIB, image.sizeBytes - at));
              image.read(at, got, 0, got.length);
              expect(
                got.every((byte) => byte === 0),
                `${at}: ${where}`,
              ).toBe(true);
              if (at > SIZE_BYTES + 2 * MIB) break;
            }
          },
        );
      });
    }
  }

  for (const type of ['dynamic', 'differencing'] as const) {
    test(`${type}, its space reclaimed`, async () => {
      await crashEverywhere(type, (image) => image.reclaimSpace({}), mustRead);
    });
  }

  test('a child that is linked with another parent', async () => {
    const [first, second] = PATHS;
    await crashEverywhere(
      'differencing',
      (image) => {
        if (!first || !second) throw new Error('there are two');
        for (const to of [second, first, second]) image.replaceParent(to);
      },
      (image, before, where) => {
        mustRead(image, before, where);
        const { parentReference } = image;
        const named = PATHS.find(({ uniqueId }) => parentReference?.linkages.includes(uniqueId));
        expect(parentReference, where).toMatchObject(named?.paths ?? { named: 'one of the two' });
      },
    );
  });

  for (const type of ['dynamic', 'fixed'] as const) {
    test(`${type}, given another id`, async () => {
      const ids = new Set<string>();
      await crashEverywhere(
        type,
        (image) => {
          ids.add(image.virtualDiskId);
          const id = randomGuid();
          ids.add(id);
          image.changeVirtualDiskId(id);
          expect(image.contentId).toBe(id);
        },
        (image, before, where) => {
          mustRead(image, before, where);
          expect(ids.has(image.virtualDiskId), where).toBe(true);
        },
      );
    });
  }
});

describe('what fails is rolled back or brought to an end', () => {
  const works: Record<string, (image: VhdImage) => Promise<void> | void> = {
    'growing a dynamic disk': (image) => image.resize(3000 * MIB),
    'shrinking a dynamic disk': (image) => image.resize(SIZE_BYTES - 2 * MIB),
    'reclaiming its space': (image) => image.reclaimSpace({}),
  };
  for (const [name, work] of Object.entries(works)) {
    test(`${name}, any write of it failing`, async () => {
      const { store: initial, expected } = await makeDisk('dynamic');
      const whole = new FaultStore(initial);
      await work(open(whole, 'dynamic'));
      for (let failing = 1; failing <= whole.counts.write; failing++) {
        const store = new FaultStore(initial);
        store.failWrite = failing;
        const image = open(store, 'dynamic');
        await expect((async () => work(image))()).rejects.toMatchObject({ code: 'io' });
        const kept = Math.min(image.sizeBytes, SIZE_BYTES - 2 * MIB);
        const head = Buffer.alloc(kept);
        for (const look of [image, open(store.content(), 'dynamic')]) {
          look.read(0, head, 0, kept);
          expect(head.equals(expected.subarray(0, kept)), `write ${failing}`).toBe(true);
        }
        await work(image);
        image.read(0, head, 0, kept);
        expect(head.equals(expected.subarray(0, kept)), `write ${failing}, again`).toBe(true);
        await image.close();
      }
    });
  }

  test('a disk that does not fit any more', async () => {
    const { store: initial, expected } = await makeDisk('fixed');
    const store = new FaultStore(initial);
    store.capacityBytes = 10 * MIB;
    const image = open(store, 'fixed');
    expect(() => image.resize(100 * MIB)).toThrow(expect.objectContaining({ code: 'no-space' }));
    mustRead(image, expected, 'after the refusal');
    mustRead(open(store.content(), 'fixed'), expected, 'opened anew');
  });
});

test('what a smaller disk lost does not come back in a larger one', () => {
  for (const type of ['dynamic', 'fixed'] as const) {
    const store = new MemoryStore();
    createVhdImage(store, { type, virtualSizeBytes: 8 * MIB });
    const image = VhdImage.open(store);
    const full = new Uint8Array(8 * MIB).fill(0xff);
    image.write(0, full, 0, full.length);
    image.resize(5 * MIB + 512);
    image.resize(8 * MIB);
    const got = contentOf(image);
    expect(got.subarray(0, 5 * MIB + 512).every((byte) => byte === 0xff)).toBe(true);
    expect(got.subarray(5 * MIB + 512).every((byte) => byte === 0)).toBe(true);
  }
});
