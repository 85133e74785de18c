import { expect } from 'vitest';
import { randomGuid } from '../../src/binary/index.ts';
import type { ParentDisk } from '../../src/formats/disk-image.ts';
import { createVhdImage, VhdImage } from '../../src/formats/vhd/index.ts';
import { type ByteStore, MemoryStore } from '../../src/store/index.ts';
import { FaultStore, seededRandom } from '../../src/store/testing/fault-store.ts';
import { CrashWorkload, MIB } from '../vhdx/crash-workload.ts';

export interface CrashRun {
  /** `above nothing`: a differencing disk whose parent reads as zero everywhere. */
  readonly type: 'fixed' | 'dynamic' | 'differencing' | 'above nothing';
  readonly seed: number;
  readonly operations: number;
  /** Looks at every n-th moment only. */
  readonly every: number;
  /** Everything happens in one MiB, so that most writes find earlier ones beside them. */
  readonly isNarrow?: boolean;
}

/** A fixed disk is small; the others are wide, so that what one change touches lies in several pages of the table. */
const WIDE = { sizeBytes: 5000 * MIB, blocks: [0, 1, 600, 2000, 4095, 4096, 4999] };
const SMALL = { sizeBytes: 6 * MIB, blocks: [0, 1, 2, 3, 4, 5] };

const NOTHING: ParentDisk = {
  sizeBytes: WIDE.sizeBytes,
  read: (_offset, target, targetStart, length) => target.fill(0, targetStart, targetStart + length),
  *segments(offset, length, depth) {
    yield { offset, length, kind: 'hole', depth, store: undefined, fileOffset: 0 };
  },
};

/** A workload, and what is in the file at every moment of it: after death, and after a power cut. @returns how many moments */
export async function crashEverywhere({ type, seed, operations, every, isNarrow }: CrashRun): Promise<number> {
  const { sizeBytes, blocks } = type === 'fixed' ? SMALL : { ...WIDE, blocks: isNarrow ? [4095] : WIDE.blocks };
  const random = seededRandom(seed);
  const isChild = type === 'differencing' || type === 'above nothing';
  const initial = new MemoryStore();
  createVhdImage(initial, {
    type: isChild ? 'differencing' : type,
    virtualSizeBytes: sizeBytes,
    ...(type === 'fixed' ? {} : { blockSizeBytes: random() < 0.5 ? MIB / 2 : 2 * MIB }),
    ...(isChild
      ? {
          parent: {
            uniqueId: randomGuid(),
            timestamp: 0,
            name: 'parent.vhd',
            paths: { relativePath: '.\\parent.vhd', absolutePath: undefined },
          },
        }
      : {}),
  });
  const open = (store: ByteStore): VhdImage => {
    const image = VhdImage.open(store);
    if (type === 'above nothing') image.setParent(NOTHING);
    return image;
  };
  const workload = new CrashWorkload(sizeBytes, blocks, random, type === 'differencing', open);
  const store = new FaultStore(initial);
  const running = await workload.run(store, '', operations);
  await running.close();

  let moments = 0;
  const replay = store.replayer();
  for (let events = 0; events <= store.events.length; events++) {
    replay.advance(events);
    if (events % every !== 0) continue;
    moments++;
    await checkImage(workload, replay.content(), events, 'death', seed);
    await checkImage(workload, replay.afterPowerCut(random), events, 'power-cut', seed);
  }
  return moments;
}

/** The file opens for reading and for writing, holds what it must, can be written on, and still holds it after that. */
async function checkImage(
  workload: CrashWorkload,
  content: MemoryStore,
  events: number,
  model: 'death' | 'power-cut',
  seed: number,
): Promise<void> {
  const where = `${model} after event ${events}, seed ${seed}`;
  const writing = workload.open(content, '');
  expect(workload.findWrongSector(writing, events, model), where).toBeUndefined();
  // Takes space, so that what a crash left behind the last block is used again.
  const untouched = writing.sizeBytes - 3 * MIB;
  if (writing.type !== 'fixed') writing.write(untouched, new Uint8Array(512).fill(1), 0, 512);
  await writing.close();
  const again = workload.open(content, '');
  expect(workload.findWrongSector(again, events, model), `${where}, after a close`).toBeUndefined();
  await again.close();
}
