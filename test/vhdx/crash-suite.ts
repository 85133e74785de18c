import { expect } from 'vitest';
import { randomGuid } from '../../src/binary/index.ts';
import { createVhdx, locatorPairs } from '../../src/formats/vhdx/index.ts';
import { MemoryStore } from '../../src/store/index.ts';
import { FaultStore, seededRandom } from '../../src/store/testing/fault-store.ts';
import { CrashWorkload, MIB } from './crash-workload.ts';

export interface CrashRun {
  readonly type: 'dynamic' | 'differencing' | 'fixed';
  readonly seed: number;
  readonly operations: number;
  /** Looks at every n-th moment only. */
  readonly every: number;
}

/** A fixed disk is whole; the others are wide, so that what one change touches lies in several pages of the table. */
const SHAPES = {
  fixed: { sizeBytes: 6 * MIB, blocks: [0, 1, 2, 3, 4, 5] },
  dynamic: { sizeBytes: 5000 * MIB, blocks: [0, 1, 600, 2000, 4095, 4096, 4999] },
  differencing: { sizeBytes: 5000 * MIB, blocks: [0, 1, 600, 2000, 4095, 4096, 4999] },
};

/** A workload, and what is in the file at every moment of it: after death, and after a power cut. @returns how many moments */
export async function crashEverywhere({ type, seed, operations, every }: CrashRun): Promise<number> {
  const { sizeBytes, blocks } = SHAPES[type];
  const initial = new MemoryStore();
  createVhdx(initial, {
    type,
    virtualSizeBytes: sizeBytes,
    blockSizeBytes: MIB,
    ...(type === 'differencing'
      ? {
          locator: locatorPairs(randomGuid(), randomGuid(), {
            relativePath: '.\\parent.vhdx',
            absolutePath: undefined,
          }),
        }
      : {}),
  });
  const random = seededRandom(seed);
  const workload = new CrashWorkload(sizeBytes, blocks, random, type === 'differencing');
  const hostRun = randomGuid();
  const laterRun = randomGuid();
  const store = new FaultStore(initial);
  const running = await workload.run(store, hostRun, operations);
  await running.close();

  let moments = 0;
  const replay = store.replayer();
  for (let events = 0; events <= store.events.length; events++) {
    replay.advance(events);
    if (events % every !== 0) continue;
    moments++;
    const dead = replay.content();
    await checkImage(workload, dead, hostRun, events, 'death', seed);
    const cut = replay.afterPowerCut(random);
    await checkImage(workload, cut, laterRun, events, 'power-cut', seed);
  }
  return moments;
}

/** The file opens in memory and for writing, holds what it must, can be written on, and still holds it after that. */
async function checkImage(
  workload: CrashWorkload,
  content: MemoryStore,
  hostRun: string,
  events: number,
  model: 'death' | 'power-cut',
  seed: number,
): Promise<void> {
  const where = `${model} after event ${events}, seed ${seed}`;
  const reading = workload.open(new ReadOnlyView(content), hostRun);
  expect(workload.findWrongSector(reading, events, model), `${where}, read only`).toBeUndefined();
  const writing = workload.open(content, hostRun);
  expect(workload.findWrongSector(writing, events, model), where).toBeUndefined();
  await writing.close();
  const again = workload.open(content, hostRun);
  expect(workload.findWrongSector(again, events, model), `${where}, after a close`).toBeUndefined();
  await again.close();
}

class ReadOnlyView extends MemoryStore {
  readonly #base: MemoryStore;

  constructor(base: MemoryStore) {
    super(undefined, { readOnly: true });
    this.#base = base;
  }

  override size(): number {
    return this.#base.size();
  }

  override read(position: number, target: Uint8Array, targetStart: number, length: number): void {
    this.#base.read(position, target, targetStart, length);
  }
}
