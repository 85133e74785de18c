import { expect } from 'vitest';
import { randomGuid } from '../../src/binary/index.ts';
import type { ParentDisk } from '../../src/formats/disk-image.ts';
import { createVhdx, locatorPairs, type NewVhdx, VhdxImage } from '../../src/formats/vhdx/index.ts';
import { MemoryStore } from '../../src/store/index.ts';
import { FaultStore, seededRandom } from '../../src/store/testing/fault-store.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const SAMPLE = 8192;

export interface Shape {
  readonly type: NewVhdx['type'];
  readonly sectorSize: 512 | 4096;
  readonly sizes: readonly number[];
  /** Where the disk is written and looked at. */
  readonly places: readonly number[];
}

export const SHAPES: readonly Shape[] = [
  {
    type: 'dynamic',
    sectorSize: 512,
    sizes: [9 * MIB, 200 * GIB, 4 * MIB + 512, 130 * GIB, 4096 * MIB],
    places: [0, 3 * MIB, 5 * MIB, 4095 * MIB, 129 * GIB],
  },
  {
    type: 'fixed',
    sectorSize: 4096,
    sizes: [9 * MIB, 20 * MIB, 4 * MIB + 4096, 30 * MIB, 12 * MIB],
    places: [0, 4 * MIB - SAMPLE, 4 * MIB + 8192, 11 * MIB],
  },
  {
    type: 'differencing',
    sectorSize: 512,
    sizes: [9 * MIB, 200 * GIB, 4 * MIB + 512, 6 * GIB, 5 * MIB],
    places: [0, 3 * MIB, 4 * MIB, 4097 * MIB, 129 * GIB],
  },
];

const PARENT: ParentDisk = {
  sizeBytes: 150 * GIB,
  read: (_offset, target, start, length) => target.fill(0x77, start, start + length),
  *segments(offset, length, depth) {
    yield { offset, length, kind: 'data', depth, store: undefined, fileOffset: offset };
  },
};

function open(store: MemoryStore | FaultStore, shape: Shape, hostRun: string, readOnly = false): VhdxImage {
  const image = VhdxImage.open(store, { hostRun, readOnly });
  if (shape.type === 'differencing') image.setParent(PARENT);
  return image;
}

/** All that a user of the file can see, as text. */
function stateOf(image: VhdxImage, shape: Shape): string {
  const bytes = new Uint8Array(SAMPLE);
  const samples = shape.places.map((place) => {
    const length = Math.max(0, Math.min(SAMPLE, image.sizeBytes - place));
    if (length === 0) return '';
    image.read(place, bytes, 0, length);
    return runs(bytes.subarray(0, length));
  });
  const items = image.userItems.map(({ id }) => [id, runs(image.readUserItem(id))]);
  const { sizeBytes, virtualDiskId, physicalSectorSizeBytes } = image;
  return JSON.stringify({ sizeBytes, virtualDiskId, physicalSectorSizeBytes, items, samples });
}

function runs(bytes: Uint8Array): string {
  const found: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    let next = at + 1;
    while (next < bytes.length && bytes[next] === bytes[at]) next++;
    found.push(`${bytes[at]}x${next - at}`);
    at = next;
  }
  return found.join();
}

function newDisk(shape: Shape): MemoryStore {
  const store = new MemoryStore();
  createVhdx(store, {
    type: shape.type,
    virtualSizeBytes: shape.sizes[0] ?? 0,
    blockSizeBytes: MIB,
    logicalSectorSizeBytes: shape.sectorSize,
    ...(shape.type === 'differencing'
      ? { locator: locatorPairs(randomGuid(), randomGuid(), { relativePath: '.\\parent', absolutePath: undefined }) }
      : {}),
  });
  return store;
}

/** Changes that are all or nothing, each durable when its call returns. Between them, writes: flushed, not looked into. */
function changesOf(shape: Shape): readonly { readonly isAtomic: boolean; run(image: VhdxImage): void }[] {
  const ids = [randomGuid(), randomGuid(), randomGuid()] as const;
  const changes: { isAtomic: boolean; run(image: VhdxImage): void }[] = [];
  const add = (run: (image: VhdxImage) => void): number => changes.push({ isAtomic: true, run });
  let value = 0;
  const write = (): void => {
    value++;
    const tag = value;
    changes.push({
      isAtomic: false,
      run: (image) => {
        for (const place of shape.places) {
          const length = Math.min(SAMPLE, image.sizeBytes - place);
          if (length > 0) image.write(place, new Uint8Array(length).fill(tag), 0, length);
        }
        image.flushSync();
      },
    });
  };
  for (const sizeBytes of shape.sizes) {
    add((image) => image.resize(sizeBytes));
    write();
    add((image) => image.setUserItem(ids[0], new Uint8Array(5000 + (sizeBytes % 977)).fill(value)));
    add((image) => image.changeVirtualDiskId(randomGuid()));
  }
  add((image) => image.setUserItem(ids[1], new Uint8Array(600_000).fill(1)));
  add((image) => image.setUserItem(ids[2], new Uint8Array(700_000).fill(2)));
  add((image) => image.setUserItem(ids[1], new Uint8Array(500_000).fill(3)));
  add((image) => image.changePhysicalSectorSize(512));
  add((image) => image.deleteUserItem(ids[0]));
  add((image) => image.resize(shape.sizes[1] ?? 0));
  write();
  add((image) => image.resize(shape.sizes[2] ?? 0));
  return changes;
}

/** Runs the changes, and looks at every n-th moment of them. @returns how many moments */
export async function crashBetweenChanges(shape: Shape, every: number): Promise<number> {
  const hostRun = randomGuid();
  const laterRun = randomGuid();
  const random = seededRandom(shape.places.length);
  const store = new FaultStore(newDisk(shape));
  const image = open(store, shape, hostRun);
  const marks = [{ events: 0, state: stateOf(image, shape), isAtomic: true }];
  for (const { isAtomic, run } of changesOf(shape)) {
    run(image);
    marks.push({ events: store.events.length, state: stateOf(image, shape), isAtomic });
  }
  await image.close();
  const last = marks.at(-1);
  marks.push({ events: store.events.length, state: last?.state ?? '', isAtomic: true });

  const replay = store.replayer();
  let next = 1;
  let looked = 0;
  for (let events = 0; events <= store.events.length; events++) {
    replay.advance(events);
    while ((marks[next]?.events ?? Number.POSITIVE_INFINITY) < events) next++;
    const [before, after] = [marks[next - 1], marks[next]];
    if (!before || !after?.isAtomic || events % every !== 0) continue;
    looked++;
    const possible = [before.state, after.state];
    for (const [model, content, run] of [
      ['death', replay.content(), hostRun],
      ['power cut', replay.afterPowerCut(random), laterRun],
    ] as const) {
      const where = `${model} after event ${events} of ${store.events.length}, change ${next}`;
      const readOnly = stateOf(open(content.clone(), shape, run, true), shape);
      expect(possible, `${where}, read only`).toContain(readOnly);
      const writing = open(content, shape, run);
      expect(stateOf(writing, shape), where).toBe(readOnly);
      await writing.close();
      const again = open(content, shape, run);
      expect(stateOf(again, shape), `${where}, closed and reopened`).toBe(readOnly);
      // It can be changed further, as if nothing had happened.
      again.resize(shape.sizes[3] ?? 0);
      await again.close();
      expect(open(content, shape, run).sizeBytes, where).toBe(shape.sizes[3]);
    }
  }
  return looked;
}
