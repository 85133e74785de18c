import { crc32c, randomGuid } from '../../src/binary/index.ts';
import { HvError } from '../../src/errors/index.ts';
import { isSound } from '../../src/formats/check-finding.ts';
import type { ParentDisk } from '../../src/formats/disk-image.ts';
import { checkVhdx, createVhdx, locatorPairs, readVhdxSummary, VhdxImage } from '../../src/formats/vhdx/index.ts';
import { MemoryStore } from '../../src/store/index.ts';
import { seededRandom } from '../../src/store/testing/fault-store.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZE_BYTES = 64 * MIB;
/** How far a mutated disk is walked: a disk may claim 64 TiB. */
const WALK_BYTES = 2 ** 32;
const HOST_RUN = randomGuid();

interface Seed {
  readonly name: string;
  readonly content: MemoryStore;
  /** Places that hold structures: what a mutation aims at. */
  readonly areas: readonly (readonly [start: number, length: number])[];
  readonly logEntries: readonly number[];
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

/** Opens, reads and writes mutated files. Whatever they hold, the answer is a value or an HvError that is not `internal`. */
export async function fuzzVhdx(inputs: number, seed: number): Promise<FuzzReport> {
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

/**
 * Checks and repairs mutated files: each answer is a bounded list, and opening agrees with it. What is refused as corrupt
 * has an error among its findings; what has none can be opened; what a repair calls sound is so when it is looked at again.
 */
export async function fuzzCheck(inputs: number, seed: number): Promise<FuzzReport> {
  const random = seededRandom(seed);
  const seeds = await makeSeeds();
  const answers = new Map<string, number>();
  let opened = 0;
  let slowestMs = 0;
  for (let input = 0; input < inputs; input++) {
    const base = seeds[Math.floor(random() * seeds.length)] as Seed; // the index is in range
    const content = mutate(base, random);
    const started = performance.now();
    const result = await checkVhdx(content, { hostRun: HOST_RUN });
    slowestMs = Math.max(slowestMs, performance.now() - started);
    for (const code of new Set(result.findings.map((each) => each.code)))
      answers.set(code, (answers.get(code) ?? 0) + 1);
    const hasError = result.findings.some(({ severity }) => severity === 'error');
    const refusal = refusalOf(content);
    const where = `input ${input} of seed ${seed} (${base.name})`;
    if (refusal === undefined) opened++;
    if (refusal?.code === 'corrupt' && !hasError) throw new Error(`${where}: sound, but refused`, { cause: refusal });
    if (result.findings.length > 1000) throw new Error(`${where}: ${result.findings.length} findings`);
    if (random() < 0.5) continue;
    const repaired = await checkVhdx(content, { repair: true, hostRun: HOST_RUN });
    if (!isSound(repaired)) continue;
    const again = await checkVhdx(content);
    if (again.findings.some(({ severity }) => severity !== 'info')) {
      throw new Error(`${where}: repaired, but ${JSON.stringify(again.findings)}`);
    }
  }
  return { inputs, opened, answers, slowestMs };
}

function refusalOf(content: MemoryStore): HvError | undefined {
  try {
    const image = VhdxImage.open(new ReadOnly(content), { readOnly: true, hostRun: HOST_RUN });
    if (image.metadata.hasParent) image.setParent(PARENT);
    for (const _segment of image.segments(0, Math.min(image.sizeBytes, WALK_BYTES)));
    return undefined;
  } catch (error) {
    if (error instanceof HvError && error.code !== 'internal') return error;
    throw error;
  }
}

async function use(content: MemoryStore, random: () => number): Promise<void> {
  if (random() < 0.1) readVhdxSummary(content);
  const reading = VhdxImage.open(new ReadOnly(content), { readOnly: true, hostRun: HOST_RUN });
  touch(reading, random, false);
  if (random() < 0.5) return;
  const writing = VhdxImage.open(content, { hostRun: HOST_RUN });
  touch(writing, random, true);
  await writing.flush();
  await writing.close();
  // What was written on must still be a sound file.
  touch(VhdxImage.open(content, { hostRun: HOST_RUN }), random, false);
}

function touch(image: VhdxImage, random: () => number, isWriting: boolean): void {
  if (image.metadata.hasParent) image.setParent(PARENT);
  const buffer = new Uint8Array(64 * KIB);
  const { sizeBytes } = image;
  for (let round = 0; round < 4; round++) {
    const length = Math.min(sizeBytes, 1 + Math.floor(random() * buffer.length));
    const offset = Math.floor(random() * (Math.min(sizeBytes, random() < 0.5 ? SIZE_BYTES : sizeBytes) - length));
    image.read(offset, buffer, 0, length);
    if (!isWriting) continue;
    if (random() < 0.7) image.write(offset, buffer, 0, length);
    else if (random() < 0.5) image.writeZeroes(offset, Math.min(4 * MIB, sizeBytes - offset), true);
    else image.trim(offset, Math.min(4 * MIB, sizeBytes - offset));
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
      const paths = { relativePath: '.\\parent.vhdx', absolutePath: '\\vm\\parent.vhdx' };
      createVhdx(content, {
        type,
        virtualSizeBytes: SIZE_BYTES,
        blockSizeBytes: MIB,
        ...(type === 'differencing' ? { locator: locatorPairs(randomGuid(), randomGuid(), paths) } : {}),
      });
      const image = VhdxImage.open(content, { hostRun: HOST_RUN, backgroundFlush: false });
      if (type === 'differencing') image.setParent(PARENT);
      for (let block = 0; block < 12; block++)
        image.write(block * 3 * MIB + 4096, new Uint8Array(8192).fill(block + 1), 0, 8192);
      await image.flush();
      image.writeZeroes(3 * MIB, MIB, true);
      image.trim(6 * MIB, MIB);
      image.write(63 * MIB, new Uint8Array(4096).fill(9), 0, 4096);
      if (isClosed) await image.close();
      seeds.push({ name: `${type}, ${isClosed ? 'closed' : 'with a log'}`, content, ...layoutOf(content, isClosed) });
    }
  }
  return seeds;
}

function layoutOf(content: MemoryStore, isClosed: boolean): Pick<Seed, 'areas' | 'logEntries'> {
  const logEntries: number[] = [];
  const sector = new Uint8Array(8);
  if (!isClosed) {
    for (let at = MIB; at < 2 * MIB; at += 4 * KIB) {
      content.read(at, sector, 0, 8);
      if (Buffer.from(sector.subarray(0, 4)).toString('latin1') === 'loge') logEntries.push(at);
    }
  }
  const areas: [number, number][] = [
    [0, 16],
    [64 * KIB, 80],
    [128 * KIB, 80],
    [192 * KIB, 96],
    [256 * KIB, 96],
    [2 * MIB, 256],
    [2 * MIB + 64 * KIB, 512],
    [3 * MIB, 70 * 8],
    ...logEntries.map((at): [number, number] => [at, 256]),
  ];
  return { areas, logEntries };
}

const INTERESTING = [
  0,
  1,
  2,
  3,
  6,
  7,
  8,
  0x10,
  0x7f,
  0xff,
  0x1000,
  0x10000,
  0xfffff,
  MIB,
  2 * MIB,
  3 * MIB,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32 - MIB,
];

function mutate(seed: Seed, random: () => number): MemoryStore {
  const content = seed.content.clone();
  const pick = (limit: number): number => Math.floor(random() * limit);
  const count = 1 + pick(4);
  const changed: (readonly [start: number, end: number])[] = [];
  const put = (at: number, bytes: Uint8Array, size = bytes.length): void => {
    content.write(at, bytes, 0, size);
    changed.push([at, at + size]);
  };
  for (let index = 0; index < count; index++) {
    const [start, length] = seed.areas[pick(seed.areas.length)] ?? [0, 16];
    const choice = random();
    if (choice < 0.45) {
      const word = new DataView(new ArrayBuffer(8));
      const value = random() < 0.7 ? (INTERESTING[pick(INTERESTING.length)] ?? 0) : pick(2 ** 32);
      word.setUint32(0, value, true);
      const size = [1, 2, 4, 4, 8][pick(5)] ?? 4;
      if (size === 8 && random() < 0.5) word.setUint32(4, random() < 0.5 ? 0xffffffff : pick(2 ** 32), true);
      put(start + pick(length / 4) * 4, new Uint8Array(word.buffer), size);
    } else if (choice < 0.8) {
      const byte = new Uint8Array(1);
      const at = start + pick(length);
      content.read(at, byte, 0, 1);
      byte[0] = (byte[0] ?? 0) ^ (1 << pick(8));
      put(at, byte);
    } else if (choice < 0.95) {
      // A piece of one structure over another, or over itself.
      const [from, available] = seed.areas[pick(seed.areas.length)] ?? [0, 16];
      const piece = new Uint8Array([8, 16, 32][pick(3)] ?? 8);
      content.read(from + pick(available / 8) * 8, piece, 0, piece.length);
      put(start + pick(length / 8) * 8, piece);
    } else {
      const sizeBytes = pick(content.size());
      content.setSize(sizeBytes);
      changed.push([sizeBytes, Number.POSITIVE_INFINITY]);
    }
  }
  if (random() < 0.9) repairChecksums(content, seed.logEntries, changed);
  return content;
}

/** Makes the checksums of what was changed right again, so that a mutation gets past them. */
function repairChecksums(
  content: MemoryStore,
  logEntries: readonly number[],
  changed: readonly (readonly [start: number, end: number])[],
): void {
  const isChanged = (at: number, length: number): boolean =>
    changed.some(([start, end]) => start < at + length && at < end);
  for (const [at, length] of [
    [64 * KIB, 4 * KIB],
    [128 * KIB, 4 * KIB],
    [192 * KIB, 64 * KIB],
    [256 * KIB, 64 * KIB],
  ] as const) {
    if (isChanged(at, length)) repair(content, at, length);
  }
  const length = new Uint32Array(1);
  for (const at of logEntries) {
    content.read(at + 8, new Uint8Array(length.buffer), 0, 4);
    const entryLength = length[0] ?? 0;
    if (entryLength < 64 || at + entryLength > 2 * MIB || !isChanged(at, entryLength)) continue;
    repair(content, at, entryLength);
  }
}

function repair(content: MemoryStore, at: number, length: number): void {
  const bytes = new Uint8Array(length);
  content.read(at, bytes, 0, length);
  bytes.fill(0, 4, 8);
  const checksum = new Uint32Array([crc32c(bytes)]);
  content.write(at + 4, new Uint8Array(checksum.buffer), 0, 4);
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
