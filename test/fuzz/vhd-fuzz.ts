import { randomGuid } from '../../src/binary/index.ts';
import { HvError } from '../../src/errors/index.ts';
import type { ParentDisk } from '../../src/formats/disk-image.ts';
import { checkVhd, createVhdImage, readVhdSummary, VhdImage } from '../../src/formats/vhd/index.ts';
import { MemoryStore } from '../../src/store/index.ts';
import { seededRandom } from '../../src/store/testing/fault-store.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZE_BYTES = 24 * MIB;
const BLOCK = 512 * KIB;
/** How far a mutated disk is walked: a disk may claim 2040 GiB. */
const WALK_BYTES = 2 ** 32;

interface Seed {
  readonly name: string;
  readonly content: MemoryStore;
  /** Places that hold structures: what a mutation aims at. Below zero: from the file's end. */
  readonly areas: readonly (readonly [start: number, length: number])[];
}

export interface FuzzReport {
  readonly inputs: number;
  readonly opened: number;
  /** How often each answer came: error codes, and for corrupt files their reasons. */
  readonly answers: ReadonlyMap<string, number>;
  readonly slowestMs: number;
}

const PARENT: ParentDisk = {
  sizeBytes: SIZE_BYTES,
  read: (_offset, target, targetStart, length) => target.fill(0x50, targetStart, targetStart + length),
  *segments(offset, length, depth) {
    yield { offset, length, kind: 'data', depth, store: undefined, fileOffset: offset };
  },
};

/** Opens, reads, checks and writes mutated files. Whatever they hold, the answer is a value or an HvError that is not `internal`. */
export async function fuzzVhd(inputs: number, seed: number): Promise<FuzzReport> {
  const random = seededRandom(seed);
  const seeds = await makeSeeds();
  const answers = new Map<string, number>();
  let opened = 0;
  let slowestMs = 0;
  for (let input = 0; input < inputs; input++) {
    const base = seeds[Math.floor(random() * seeds.length)] as Seed; // the index is in range
    const mutated = mutate(base, random);
    const started = performance.now();
    let answer = 'opened';
    try {
      await use(mutated, random);
      opened++;
    } catch (error) {
      if (!(error instanceof HvError) || error.code === 'internal') {
        throw new Error(`input ${input} of seed ${seed} (${base.name}) broke the engine`, { cause: error });
      }
      answer = error.code === 'corrupt' ? `corrupt: ${String(error.detail.reason)}` : error.code;
    }
    answers.set(answer, (answers.get(answer) ?? 0) + 1);
    slowestMs = Math.max(slowestMs, performance.now() - started);
  }
  return { inputs, opened, answers, slowestMs };
}

async function use(content: MemoryStore, random: () => number): Promise<void> {
  const { errors } = checked(content);
  if (random() < 0.1) readVhdSummary(content);
  const reading = openChecked(content, errors);
  touch(reading, random, false);
  if (random() < 0.5) return;
  const writing = VhdImage.open(content);
  touch(writing, random, true);
  await writing.flush();
  if (random() < 0.1 && writing.type !== 'differencing')
    writing.resize(writing.sizeBytes + (random() < 0.5 ? 512 : -512));
  await writing.close();
  // What was written on must still be a sound file.
  touch(VhdImage.open(content), random, false);
  if (errors === 0 && checked(content).errors > 0) throw new Error('a sound file was damaged by writing to it');
}

/** What a check finds no fault with can be opened. */
function openChecked(content: MemoryStore, errors: number): VhdImage {
  try {
    return VhdImage.open(new ReadOnly(content), { readOnly: true });
  } catch (error) {
    if (errors === 0) throw new Error('a file without faults does not open', { cause: error });
    throw error;
  }
}

function checked(content: MemoryStore): { readonly errors: number } {
  const { findings } = checkVhd(new ReadOnly(content));
  return { errors: findings.filter(({ severity }) => severity === 'error').length };
}

function touch(image: VhdImage, random: () => number, isWriting: boolean): void {
  if (image.type === 'differencing') image.setParent(PARENT);
  const buffer = new Uint8Array(64 * KIB);
  const { sizeBytes } = image;
  for (let round = 0; round < 4; round++) {
    const length = Math.min(sizeBytes, 1 + Math.floor(random() * buffer.length));
    const offset = Math.floor(random() * (Math.min(sizeBytes, random() < 0.5 ? SIZE_BYTES : sizeBytes) - length));
    image.read(offset, buffer, 0, length);
    if (!isWriting) continue;
    if (random() < 0.7) image.write(offset, buffer, 0, length);
    else if (random() < 0.5) image.writeZeroes(offset, Math.min(2 * MIB, sizeBytes - offset), true);
    else image.trim(offset, Math.min(2 * MIB, sizeBytes - offset));
  }
  let covered = 0;
  const walked = Math.min(sizeBytes, WALK_BYTES);
  for (const segment of image.segments(0, walked)) covered += segment.length;
  if (covered !== walked) throw new Error(`segments cover ${covered} of ${walked} bytes`);
}

async function makeSeeds(): Promise<Seed[]> {
  const seeds: Seed[] = [];
  for (const type of ['dynamic', 'fixed', 'differencing'] as const) {
    for (const isClosed of [true, false]) {
      const content = new MemoryStore();
      createVhdImage(content, {
        type,
        virtualSizeBytes: SIZE_BYTES,
        ...(type === 'fixed' ? {} : { blockSizeBytes: BLOCK }),
        ...(type === 'differencing'
          ? {
              parent: {
                uniqueId: randomGuid(),
                timestamp: 1,
                name: 'parent.vhd',
                paths: { relativePath: '.\\parent.vhd', absolutePath: '\\vm\\parent.vhd' },
              },
            }
          : {}),
      });
      const image = VhdImage.open(content);
      if (type === 'differencing') image.setParent(PARENT);
      for (let block = 0; block < 8; block++) {
        image.write(block * 2 * MIB + 4096, new Uint8Array(8192).fill(block + 1), 0, 8192);
      }
      await image.flush();
      image.writeZeroes(2 * MIB, MIB, true);
      image.trim(6 * MIB, MIB);
      if (isClosed) await image.close();
      const areas: [number, number][] = [[-512, 96]];
      if (type !== 'fixed') areas.push([0, 96], [512, 64], [1536, (SIZE_BYTES / BLOCK) * 4]);
      if (type === 'differencing') areas.push([512 + 40, 64], [512 + 576, 64], [2048, 64]);
      seeds.push({ name: `${type}, ${isClosed ? 'closed' : 'not closed'}`, content, areas });
    }
  }
  return seeds;
}

const INTERESTING = [
  0,
  1,
  2,
  3,
  4,
  5,
  7,
  0x10,
  0x7f,
  0x200,
  0x1000,
  0x8000,
  0x10000,
  BLOCK,
  2 * MIB,
  256 * MIB,
  2 ** 31,
  2 ** 32 - 2,
  2 ** 32 - 1,
];

function mutate(seed: Seed, random: () => number): MemoryStore {
  const content = seed.content.clone();
  const pick = (limit: number): number => Math.floor(random() * limit);
  const place = (): readonly [number, number] => {
    const [start, length] = seed.areas[pick(seed.areas.length)] ?? [0, 16];
    return [start < 0 ? content.size() + start : start, length];
  };
  const count = 1 + pick(4);
  for (let index = 0; index < count; index++) {
    const [start, length] = place();
    const choice = random();
    if (choice < 0.5) {
      const word = new DataView(new ArrayBuffer(8));
      const value = random() < 0.7 ? (INTERESTING[pick(INTERESTING.length)] ?? 0) : pick(2 ** 32);
      const size = [1, 2, 4, 4, 8][pick(5)] ?? 4;
      if (size === 8) {
        word.setUint32(4, value);
        if (random() < 0.3) word.setUint32(0, random() < 0.5 ? 0xffffffff : pick(2 ** 32));
      } else word.setUint32(0, size === 1 ? value * 2 ** 24 : value);
      content.write(start + pick(length / 4) * 4, new Uint8Array(word.buffer), 0, size);
    } else if (choice < 0.8) {
      const byte = new Uint8Array(1);
      const at = start + pick(length);
      content.read(at, byte, 0, 1);
      byte[0] = (byte[0] ?? 0) ^ (1 << pick(8));
      content.write(at, byte, 0, 1);
    } else if (choice < 0.94) {
      // A piece of one structure over another, or over itself.
      const [from, available] = place();
      const piece = new Uint8Array([4, 8, 16, 32][pick(4)] ?? 8);
      content.read(from + pick(available / 8) * 8, piece, 0, piece.length);
      content.write(start + pick(length / 8) * 8, piece, 0, piece.length);
    } else {
      content.setSize(Math.max(1024, pick(content.size())));
    }
  }
  if (random() < 0.9) {
    repair(content, content.size() - 512, 512, 64);
    if (seed.areas.length > 1) {
      repair(content, 0, 512, 64);
      repair(content, 512, 1024, 36);
    }
  }
  return content;
}

/** Makes a checksum right again, so that a mutation gets past it. */
function repair(content: MemoryStore, at: number, length: number, checksumAt: number): void {
  const bytes = new Uint8Array(length);
  content.read(at, bytes, 0, length);
  // Only a structure: a file that was cut ends with something else.
  if (bytes[0] !== 'c'.charCodeAt(0)) return;
  bytes.fill(0, checksumAt, checksumAt + 4);
  new DataView(bytes.buffer).setUint32(checksumAt, ~bytes.reduce((sum, byte) => sum + byte, 0) >>> 0);
  content.write(at, bytes, 0, length);
}

/** Fails a test in which a read-only open changes the file. */
class ReadOnly extends MemoryStore {
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
