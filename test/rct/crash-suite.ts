import { expect } from 'vitest';
import { randomGuid } from '../../src/binary/index.ts';
import { ChangeTracker } from '../../src/formats/rct/index.ts';
import { createVhdx, VhdxImage } from '../../src/formats/vhdx/index.ts';
import { type ByteStore, MemoryStore } from '../../src/store/index.ts';
import { FaultStore, seededRandom } from '../../src/store/testing/fault-store.ts';

const MIB = 1024 * 1024;
const SECTOR = 512;
const PLACE_BYTES = 192 * 1024;
const DISK_BYTES = 3 * 1024 * MIB;
/** Parts of the disk that are written to, far apart, so that they lie in several windows of regions. */
const PLACES = [0, 31 * MIB + 128 * 1024, 300 * MIB, 301 * MIB, 1000 * MIB, 2047 * MIB, 2500 * MIB, 3071 * MIB];

/** A store that tells of every event, flushes too. */
class WatchedStore extends FaultStore {
  onEvent: (() => void) | undefined;

  constructor(initial?: MemoryStore) {
    super(initial);
    this.afterChange = () => this.onEvent?.();
  }

  override flushSync(): void {
    super.flushSync();
    this.onEvent?.();
  }

  override async flush(): Promise<void> {
    await super.flush();
    this.onEvent?.();
  }
}

/** An id, what the disk held when it was made, and from which moment on it counts. */
interface Sealed {
  readonly id: string;
  readonly content: readonly Uint8Array[];
  readonly moment: number;
}

interface Open {
  readonly image: VhdxImage;
  readonly tracker: ChangeTracker;
}

function open(disk: ByteStore, tracking: ByteStore, hostRun: string): Open {
  const tracker = ChangeTracker.open(tracking);
  return { image: VhdxImage.open(disk, { hostRun, changes: tracker, readOnly: disk.readOnly }), tracker };
}

function contentOf(image: VhdxImage): Uint8Array[] {
  return PLACES.map((place) => {
    const bytes = new Uint8Array(PLACE_BYTES);
    image.read(place, bytes, 0, PLACE_BYTES);
    return bytes;
  });
}

/**
 * The first sector that differs from then and is in no range.
 * @param mayBeVoid other software wrote to the disk: the id may be refused
 */
function missedChange(open: Open, { id, content }: Sealed, mayBeVoid: boolean): string | undefined {
  if (mayBeVoid && !(open.tracker.isBound && open.tracker.knows(id))) return undefined;
  expect(open.tracker.isBound, 'the file fits its disk').toBe(true);
  const { ranges } = open.tracker.query(id, 0, open.image.sizeBytes, Number.POSITIVE_INFINITY);
  const now = contentOf(open.image);
  for (const [index, place] of PLACES.entries()) {
    const [before, after] = [content[index] as Uint8Array, now[index] as Uint8Array];
    for (let at = 0; at < PLACE_BYTES; at += SECTOR) {
      if (Buffer.compare(before.subarray(at, at + SECTOR), after.subarray(at, at + SECTOR)) === 0) continue;
      const offset = place + at;
      const isTold = ranges.some(
        (range) => range.offsetBytes <= offset && offset + SECTOR <= range.offsetBytes + range.lengthBytes,
      );
      if (!isTold) return `${offset} since ${id}`;
    }
  }
  return undefined;
}

export interface RctCrashRun {
  readonly seed: number;
  readonly operations: number;
  readonly every: number;
  /** Before this step, something that knows no tracking file writes to the disk. */
  readonly foreignStep?: number;
}

/** A life of a disk and its tracking file, and what each moment of it leaves. @returns how many moments were looked at */
export async function crashBothFiles({ seed, operations, every, foreignStep }: RctCrashRun): Promise<number> {
  const random = seededRandom(seed);
  const initial = new MemoryStore();
  createVhdx(initial, { type: 'dynamic', virtualSizeBytes: DISK_BYTES, blockSizeBytes: MIB });
  const disk = new WatchedStore(initial);
  const tracking = new WatchedStore();
  const hostRun = randomGuid();
  const laterRun = randomGuid();
  const tracker = ChangeTracker.create(tracking, VhdxImage.open(initial).state);
  const sealed: Sealed[] = [];
  let current: Open = open(disk, tracking, hostRun);
  sealed.push({ id: tracker.state().mostRecentId ?? '', content: contentOf(current.image), moment: 0 });
  const moments: [disk: number, tracking: number][] = [];
  const note = (): void => {
    moments.push([disk.events.length, tracking.events.length]);
  };
  disk.onEvent = note;
  tracking.onEvent = note;
  note();

  let foreignMoment = Number.POSITIVE_INFINITY;
  for (let step = 0; step < operations; step++) {
    if (step === foreignStep) {
      await current.image.close();
      foreignMoment = moments.length;
      const foreign = VhdxImage.open(disk, { hostRun });
      for (const place of PLACES) foreign.write(place, new Uint8Array(4096).fill(255), 0, 4096);
      await foreign.close();
      current = open(disk, tracking, hostRun);
    }
    const { image } = current;
    const place = PLACES[Math.floor(random() * PLACES.length)] ?? 0;
    const at = Math.floor((random() * PLACE_BYTES) / SECTOR) * SECTOR;
    const length = Math.min(PLACE_BYTES - at, SECTOR * (1 + Math.floor(random() * 60)));
    const choice = random();
    if (choice < 0.5) image.write(place + at, new Uint8Array(length).fill(1 + (step % 250)), 0, length);
    else if (choice < 0.58) image.writeZeroes(place + at, length, random() < 0.5);
    else if (choice < 0.66) image.trim(Math.floor(place / MIB) * MIB, MIB);
    else if (choice < 0.82) await image.flush();
    else if (choice < 0.9) {
      image.flushSync();
      const id = current.tracker.takeReferencePoint();
      sealed.push({ id, content: contentOf(image), moment: moments.length - 1 });
    } else if (choice < 0.95) {
      await image.close();
      current = open(disk, tracking, hostRun);
    } else {
      // The process dies here, and another one opens both.
      await image.flush();
      current = open(disk, tracking, hostRun);
    }
  }
  await current.image.close();

  let looked = 0;
  const replays = { disk: disk.replayer(), tracking: tracking.replayer() };
  for (const [index, [diskEvents, trackingEvents]] of moments.entries()) {
    replays.disk.advance(diskEvents);
    replays.tracking.advance(trackingEvents);
    if (index % every !== 0) continue;
    looked++;
    const known = sealed.filter(({ moment }) => moment <= index);
    // From the first change of its headers on.
    const isVoid = index >= foreignMoment;
    const where = `moment ${index} of ${moments.length}, seed ${seed}`;
    await check(replays.disk.content(), replays.tracking.content(), hostRun, known, isVoid, `death at ${where}`);
    const cut = [replays.disk.afterPowerCut(random), replays.tracking.afterPowerCut(random)] as const;
    await check(...cut, laterRun, known, isVoid, `power cut at ${where}`);
  }
  return looked;
}

async function check(
  disk: MemoryStore,
  tracking: MemoryStore,
  hostRun: string,
  known: readonly Sealed[],
  isVoid: boolean,
  where: string,
): Promise<void> {
  const ids = [known[0], known.at(-1), known[Math.floor(known.length / 2)]].filter((one) => one !== undefined);
  const reading = open(new ReadOnlyView(disk), new ReadOnlyView(tracking), hostRun);
  for (const one of ids) expect(missedChange(reading, one, isVoid), `${where}, read only`).toBeUndefined();
  const writing = open(disk, tracking, hostRun);
  for (const one of ids) expect(missedChange(writing, one, isVoid), where).toBeUndefined();
  writing.image.write(700 * MIB, new Uint8Array(SECTOR).fill(1), 0, SECTOR);
  await writing.image.close();
  const again = open(disk, tracking, hostRun);
  for (const one of ids) expect(missedChange(again, one, isVoid), `${where}, after a close`).toBeUndefined();
  await again.image.close();
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
