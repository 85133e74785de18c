import { describe, expect, it } from 'vitest';
import { randomGuid } from '../../binary/index.ts';
import { type ByteStore, MemoryStore } from '../../store/index.ts';
import { FaultStore, ProcessDeath, seededRandom } from '../../store/testing/fault-store.ts';
import type { ParentDisk } from '../disk-image.ts';
import { createVhdx } from './create.ts';
import { MIB } from './format.ts';
import { locatorPairs } from './locator.ts';
import { VhdxImage } from './vhdx-image.ts';

const HOST_RUN = randomGuid();
const TIB = 2 ** 40;

interface Shape {
  readonly type: 'dynamic' | 'differencing';
  readonly blockMib: number;
  readonly sizeBytes: number;
  /** The blocks that are written, in this order: so they lie in the file. */
  readonly written: readonly number[];
  readonly freed: readonly number[];
}

const SHAPES: readonly Shape[] = [
  { type: 'dynamic', blockMib: 1, sizeBytes: 64 * MIB, written: [5, 60, 2, 40, 7, 8, 9, 31], freed: [5, 2, 8] },
  { type: 'dynamic', blockMib: 2, sizeBytes: 4 * TIB, written: [9, 1_900_000, 4, 77, 500_000], freed: [9, 4, 77] },
  // Three chunks of 4 GiB, whose sector bitmaps lie between the blocks.
  { type: 'differencing', blockMib: 2, sizeBytes: 12 * 2 ** 30, written: [5, 6, 7, 2100, 4300], freed: [5, 6, 7] },
];

const parent: ParentDisk = {
  sizeBytes: 16 * TIB,
  read: (_offset, target, start, length) => target.fill(0x50, start, start + length),
  *segments(offset, length, depth) {
    yield { offset, length, kind: 'data', depth, store: undefined, fileOffset: offset };
  },
};

function open(store: ByteStore, shape: Shape): VhdxImage {
  const image = VhdxImage.open(store, { hostRun: HOST_RUN });
  if (shape.type === 'differencing') image.setParent(parent);
  return image;
}

function piece(block: number): Uint8Array {
  return new Uint8Array(MIB / 2).fill((block % 250) + 1);
}

/** A file with gaps: in each block a quarter of a MiB is skipped, then half a MiB is written. */
async function withGaps(shape: Shape): Promise<MemoryStore> {
  const store = new MemoryStore();
  createVhdx(store, {
    type: shape.type,
    virtualSizeBytes: shape.sizeBytes,
    blockSizeBytes: shape.blockMib * MIB,
    ...(shape.type === 'differencing'
      ? { locator: locatorPairs(randomGuid(), randomGuid(), { relativePath: '.\\p.vhdx', absolutePath: undefined }) }
      : {}),
  });
  const image = open(store, shape);
  const blockBytes = shape.blockMib * MIB;
  for (const block of shape.written) image.write(block * blockBytes + MIB / 4, piece(block), 0, MIB / 2);
  for (const block of shape.freed) image.writeZeroes(block * blockBytes, blockBytes, true);
  await image.close();
  return store;
}

/** What is wrong with the contents, or undefined. */
function fault(image: VhdxImage, shape: Shape): string | undefined {
  const blockBytes = shape.blockMib * MIB;
  const outside = shape.type === 'differencing' ? 0x50 : 0;
  const got = new Uint8Array(MIB);
  for (const block of [...shape.written, 1, 3]) {
    const isFreed = shape.freed.includes(block);
    const isWritten = shape.written.includes(block) && !isFreed;
    image.read(block * blockBytes, got, 0, MIB);
    const wanted = new Uint8Array(MIB).fill(isFreed ? 0 : outside);
    if (isWritten) wanted.set(piece(block), MIB / 4);
    if (Buffer.compare(got, wanted) !== 0) return `block ${block}`;
  }
  return undefined;
}

describe('reclaiming the space of a VHDX file', () => {
  it.each(SHAPES)('moves the last blocks forward and cuts the file: %j', async (shape) => {
    const store = await withGaps(shape);
    const before = store.size();
    const image = open(store, shape);
    const { contentId } = image;
    await image.reclaimSpace({});
    expect(fault(image, shape)).toBeUndefined();
    expect(image.contentId).toBe(contentId);
    const held = [...image.heldBlocks()];
    expect(held.map(({ offset }) => offset / (shape.blockMib * MIB))).toEqual(
      shape.written.filter((block) => !shape.freed.includes(block)).sort((a, b) => a - b),
    );
    await image.close();
    expect(before - store.size()).toBe(shape.freed.length * shape.blockMib * MIB);
    const again = open(store, shape);
    expect(fault(again, shape)).toBeUndefined();
    const size = store.size();
    await again.reclaimSpace({});
    // What a writer needs next is taken at the file's end, which is where it was cut.
    again.write(1 * shape.blockMib * MIB, new Uint8Array(512).fill(9), 0, 512);
    again.write(1 * shape.blockMib * MIB, new Uint8Array(512).fill(shape.type === 'dynamic' ? 0 : 0x50), 0, 512);
    await again.close();
    expect(store.size()).toBe(size + shape.blockMib * MIB);
    expect(fault(open(store, shape), shape)).toBeUndefined();
  });

  it('does nothing to a file without gaps, and to a fixed one', async () => {
    for (const type of ['dynamic', 'fixed'] as const) {
      const store = new MemoryStore();
      createVhdx(store, { type, virtualSizeBytes: 8 * MIB, blockSizeBytes: MIB });
      const faultStore = new FaultStore(store);
      const image = VhdxImage.open(faultStore);
      await image.reclaimSpace({});
      expect(faultStore.changes).toBe(0);
      await image.close();
    }
  });

  it('stops at an abort with the file whole, and goes on when called again', async () => {
    const shape = SHAPES[0] as Shape; // there are three
    const store = await withGaps(shape);
    const image = open(store, shape);
    const signal = AbortSignal.abort();
    await expect(image.reclaimSpace({ signal })).rejects.toMatchObject({ code: 'aborted' });
    expect(fault(image, shape)).toBeUndefined();
    await image.reclaimSpace({});
    expect(fault(image, shape)).toBeUndefined();
    await image.close();
  });

  it.each(SHAPES)('is whole after death and power cut at every moment: %j', async (shape) => {
    const initial = await withGaps(shape);
    const store = new FaultStore(initial);
    const running = open(store, shape);
    await running.reclaimSpace({});
    await running.close();
    const random = seededRandom(5);
    const replay = store.replayer();
    for (let events = 0; events <= store.events.length; events++) {
      replay.advance(events);
      for (let round = 0; round < 2; round++) {
        const content = round === 0 ? replay.content() : replay.afterPowerCut(random);
        const image = open(content, shape);
        expect(fault(image, shape), `round ${round} after event ${events}`).toBeUndefined();
        if (events % 6 === 0) {
          await image.reclaimSpace({});
          expect(fault(image, shape), `again, round ${round} after event ${events}`).toBeUndefined();
        }
        await image.close();
        expect(fault(open(content, shape), shape), `closed, round ${round} after event ${events}`).toBeUndefined();
      }
    }
    expect(store.events.length).toBeGreaterThan(20);
  });

  it('fails cleanly when any write, or the file system, fails', async () => {
    const shape = SHAPES[2] as Shape; // there are three
    const initial = await withGaps(shape);
    const whole = new FaultStore(initial);
    await open(whole, shape).reclaimSpace({});
    for (let failing = 1; failing <= whole.counts.write; failing++) {
      const store = new FaultStore(initial);
      store.failWrite = failing;
      const image = open(store, shape);
      await expect(image.reclaimSpace({})).rejects.toMatchObject({ code: 'io' });
      expect(fault(image, shape), `write ${failing}`).toBeUndefined();
      await image.reclaimSpace({}).catch((error: unknown) => {
        if (error instanceof ProcessDeath) throw error;
      });
      expect(fault(image, shape), `write ${failing}, again`).toBeUndefined();
      await image.close();
      expect(fault(open(store.content(), shape), shape), `write ${failing}, closed`).toBeUndefined();
    }
  });

  it('takes a second and little memory for a file of 64 TiB whose blocks lie at both ends', async () => {
    const store = new MemoryStore();
    createVhdx(store, { type: 'dynamic', virtualSizeBytes: 64 * TIB, blockSizeBytes: 32 * MIB });
    const image = VhdxImage.open(store);
    for (const offset of [0, 32 * TIB, 64 * TIB - MIB]) image.write(offset, piece(3), 0, MIB / 2);
    image.writeZeroes(0, 32 * MIB, true);
    const started = performance.now();
    await image.reclaimSpace({});
    const kinds = [...image.segments(0, 64 * TIB)].map(({ kind, length }) => [kind, length / MIB]);
    expect(kinds).toEqual([
      ['zero', 32],
      ['hole', 32 * 2 ** 20 - 32],
      ['data', 32],
      ['hole', 32 * 2 ** 20 - 64],
      ['data', 32],
    ]);
    expect([...image.heldBlocks()]).toHaveLength(2);
    expect(performance.now() - started).toBeLessThan(5000);
    await image.close();
    expect(store.size()).toBeLessThan(100 * MIB);
  });
});
