import { readFileSync, writeFileSync } from 'node:fs';
import { crc32, crc32c } from '../../src/binary/index.ts';
import { moveGptBackup, smallestSafeSize } from '../../src/disk/index.ts';
import { findVolumes } from '../../src/disk/volumes/find-volumes.ts';
import { HvError } from '../../src/errors/index.ts';
import { MemoryStore } from '../../src/store/index.ts';
import { seededRandom } from '../../src/store/testing/fault-store.ts';
import { deviceOn } from '../volumes/store-device.ts';
import { KIB, MIB, sparseFile, TemporaryFolder, tool } from '../volumes/tools.ts';

interface Seed {
  readonly name: string;
  readonly content: MemoryStore;
  /** Places that hold structures: what a mutation aims at. */
  readonly areas: readonly (readonly [start: number, length: number])[];
  /** Makes checksums right again, so that a mutation gets past them. */
  readonly repair: (content: MemoryStore) => void;
}

export interface VolumesFuzzReport {
  readonly inputs: number;
  /** How often each kind was found in each state, and for what reason. */
  readonly answers: ReadonlyMap<string, number>;
  readonly slowestMs: number;
}

/**
 * Looks into disks whose structures were mutated. Whatever they hold, there is an answer; free ranges come in order and
 * lie in their volume; and moving a table fails in no other way than it says.
 */
export async function fuzzVolumes(inputs: number, seed: number): Promise<VolumesFuzzReport> {
  const random = seededRandom(seed);
  const seeds = makeSeeds();
  const answers = new Map<string, number>();
  let slowestMs = 0;
  for (let input = 0; input < inputs; input++) {
    const base = seeds[Math.floor(random() * seeds.length)] as Seed; // the index is in range
    const content = mutate(base, random);
    const started = performance.now();
    try {
      for (const answer of await look(content)) answers.set(answer, (answers.get(answer) ?? 0) + 1);
    } catch (error) {
      throw new Error(`input ${input} of seed ${seed} (${base.name}) broke the reader`, { cause: error });
    }
    slowestMs = Math.max(slowestMs, performance.now() - started);
  }
  return { inputs, answers, slowestMs };
}

async function look(content: MemoryStore): Promise<string[]> {
  const device = deviceOn(content);
  const volumes = findVolumes(device);
  for (const volume of volumes) {
    let end = volume.offset;
    let freeBytes = 0;
    for (const { offset, length } of volume.freeRanges()) {
      if (length <= 0 || offset < end || offset + length > volume.offset + volume.sizeBytes) {
        throw new Error(`the free range ${offset}+${length} lies wrong`);
      }
      if (offset + length > device.sizeBytes) throw new Error('free space beyond the end of the disk');
      end = offset + length;
      freeBytes += length;
    }
    if (freeBytes !== (volume.freeBytes ?? 0)) throw new Error('two passes over the free space differ');
    if (volume.state !== 'clean' && freeBytes > 0) throw new Error('free space of a volume that is not clean');
    if ((volume.state === 'clean') !== (volume.why === '')) throw new Error('a state without a reason');
  }
  const smallest = smallestSafeSize(device);
  if (!(smallest >= 0 && smallest <= device.sizeBytes)) throw new Error(`the smallest safe size is ${smallest}`);
  await moveGptBackup(device, device.sizeBytes).catch((error: unknown) => {
    if (!(error instanceof HvError) || !['corrupt', 'invalid-argument'].includes(error.code)) throw error;
  });
  return volumes.map(({ kind, state, why }) => `${kind} ${state} ${why}`.trim());
}

function makeSeeds(): Seed[] {
  using folder = new TemporaryFolder();
  const path = folder.file('seed.raw');
  const source = folder.file('source');
  writeFileSync(source, Buffer.alloc(50_000, 7));
  const none = (): void => {};
  const seed = (name: string, areas: Seed['areas'], repair: Seed['repair'] = none): Seed => {
    const content = new MemoryStore();
    const bytes = readFileSync(path);
    // Pieces that hold nothing stay out of the store.
    for (let at = 0; at < bytes.length; at += 64 * KIB) {
      const piece = bytes.subarray(at, at + 64 * KIB);
      if (piece.some((byte) => byte !== 0)) content.write(at, new Uint8Array(piece), 0, piece.length);
    }
    content.setSize(bytes.length);
    return { name, content, areas, repair };
  };
  const seeds: Seed[] = [];
  const extAreas: Seed['areas'] = [
    [1024, 0x280],
    [1024, 0x70],
    [2048, 256],
    [4096, 256],
  ];
  for (const features of [
    '^metadata_csum',
    '^metadata_csum,^64bit,bigalloc',
    '^metadata_csum,uninit_bg',
    'metadata_csum',
  ]) {
    sparseFile(path, 20 * MIB);
    tool('mkfs.ext4', ['-q', '-F', '-b', '1024', '-O', features, path]);
    tool('debugfs', ['-w', '-R', `write ${source} file`, path]);
    const bitmaps = [...tool('dumpe2fs', [path]).matchAll(/Block bitmap at (\d+)/g)].map(
      ([, block]): [number, number] => [Number(block) * 1024, 1024],
    );
    seeds.push(seed(`ext4 ${features}`, [...extAreas, ...bitmaps.slice(0, 2)], repairExt));
  }
  for (const args of [[], ['-c', '512']]) {
    sparseFile(path, 4 * MIB);
    tool('mkfs.ntfs', ['-F', '-f', '-q', ...args, path]);
    // Beside a volume with a sleeping system one whose hibernation file is spent.
    writeFileSync(source, Buffer.concat([Buffer.from(args.length > 0 ? 'wake' : 'hibr'), Buffer.alloc(50_000)]));
    tool('ntfscp', ['-q', path, source, 'hiberfil.sys']);
    const bytes = readFileSync(path);
    const mft = Number(bytes.readBigUInt64LE(0x30)) * bytes.readUInt16LE(11) * (bytes[13] ?? 1);
    const records = [0, 2, 3, 5, 6].map((record): [number, number] => [mft + record * 1024, 1024]);
    seeds.push(seed(`NTFS ${args.join(' ')}`, [[0, 0x50], ...records, ...records]));
  }
  for (const [bits, sizeMib] of [
    [12, 2],
    [16, 9],
    [32, 34],
  ] as const) {
    sparseFile(path, sizeMib * MIB);
    tool('mkfs.fat', ['-F', String(bits), '-s', '1', path]);
    tool('mcopy', ['-i', path, source, '::file']);
    const fat = readFileSync(path).readUInt16LE(14) * 512;
    seeds.push(
      seed(`FAT${bits}`, [
        [0, 0x60],
        [0, 0x40],
        [fat, 128],
      ]),
    );
  }
  sparseFile(path, 4 * MIB);
  tool('mkfs.exfat', [path]);
  const exfat = readFileSync(path);
  const heap = exfat.readUInt32LE(0x58) * 512;
  const cluster = 512 * 2 ** (exfat[0x6d] ?? 0);
  const root = heap + (exfat.readUInt32LE(0x60) - 2) * cluster;
  seeds.push(
    seed('exFAT', [
      [0x40, 0x30],
      [exfat.readUInt32LE(0x50) * 512, 64],
      [heap, 64],
      [root, 128],
    ]),
  );

  sparseFile(path, 6 * MIB);
  tool('sfdisk', ['-q', path], { input: 'label: gpt\nstart=2048, size=2048\nstart=4096, size=4096\n' });
  seeds.push(
    seed(
      'GPT',
      [
        [440, 72],
        [512, 92],
        [1024, 256],
        [6 * MIB - 512, 92],
      ],
      repairGpt,
    ),
  );
  tool('sfdisk', ['-q', path], {
    input:
      'label: dos\nstart=2048, size=2048, type=83\nstart=4096, size=8192, type=5\nstart=5120, size=1024, type=83\nstart=7168, size=1024, type=83\n',
  });
  seeds.push(
    seed('MBR', [
      [440, 72],
      [4096 * 512 + 440, 72],
      [6144 * 512 + 440, 72],
    ]),
  );
  return seeds;
}

const INTERESTING = [
  0,
  1,
  2,
  3,
  7,
  8,
  0x10,
  0x20,
  0x7f,
  0x80,
  0xff,
  0x100,
  0x200,
  0x1000,
  0x8000,
  0xffff,
  2 ** 20,
  2 ** 31,
  2 ** 32 - 1,
];

function mutate(seed: Seed, random: () => number): MemoryStore {
  const content = seed.content.clone();
  const pick = (limit: number): number => Math.floor(random() * limit);
  for (let left = 1 + pick(4); left > 0; left--) {
    const [start, length] = seed.areas[pick(seed.areas.length)] ?? [0, 64];
    const choice = random();
    const word = new DataView(new ArrayBuffer(8));
    if (choice < 0.5) {
      const value = random() < 0.7 ? (INTERESTING[pick(INTERESTING.length)] ?? 0) : pick(2 ** 32);
      word.setUint32(0, value, true);
      const size = [1, 1, 2, 2, 4, 4, 8][pick(7)] ?? 4;
      if (size === 8 && random() < 0.5) word.setUint32(4, random() < 0.5 ? 0xffffffff : pick(2 ** 32), true);
      content.write(start + pick(length), new Uint8Array(word.buffer), 0, size);
    } else if (choice < 0.85) {
      const byte = new Uint8Array(1);
      const at = start + pick(length);
      content.read(at, byte, 0, 1);
      byte[0] = (byte[0] ?? 0) ^ (1 << pick(8));
      content.write(at, byte, 0, 1);
    } else if (choice < 0.97) {
      const [from, available] = seed.areas[pick(seed.areas.length)] ?? [0, 64];
      const piece = new Uint8Array([4, 8, 16, 64][pick(4)] ?? 8);
      content.read(from + pick(available), piece, 0, piece.length);
      content.write(start + pick(length), piece, 0, piece.length);
    } else {
      content.setSize(pick(content.size() / 512) * 512);
    }
  }
  if (random() < 0.9) seed.repair(content);
  return content;
}

/** The superblock's checksum, and those of the first descriptors, where the file system has any. */
function repairExt(content: MemoryStore): void {
  const bytes = new Uint8Array(1024);
  const view = new DataView(bytes.buffer);
  content.read(1024, bytes, 0, 1024);
  if ((view.getUint32(0x64, true) & 0x400) === 0) return;
  view.setUint32(0x3fc, ~crc32c(bytes, 0, 0x3fc) >>> 0, true);
  content.write(1024, bytes, 0, 1024);
  const uuid = bytes.slice(0x68, 0x78);
  const size = (view.getUint32(0x60, true) & 0x80) === 0 ? 32 : view.getUint16(0xfe, true);
  if (size < 32 || size > 64) return;
  for (let group = 0; group < 3; group++) {
    const descriptor = new Uint8Array(size);
    content.read(2048 + group * size, descriptor, 0, size);
    descriptor.fill(0, 0x1e, 0x20);
    const number = new Uint8Array(4);
    new DataView(number.buffer).setUint32(0, group, true);
    const sum = ~crc32c(descriptor, 0, size, crc32c(number, 0, 4, crc32c(uuid))) >>> 0;
    new DataView(descriptor.buffer).setUint16(0x1e, sum & 0xffff, true);
    content.write(2048 + group * size, descriptor, 0, size);
  }
}

/** The checksums of both headers and of the table at the front. */
function repairGpt(content: MemoryStore): void {
  for (const at of [512, content.size() - 512]) {
    if (at < 0) continue;
    const header = new Uint8Array(512);
    const view = new DataView(header.buffer);
    content.read(at, header, 0, 512);
    const tableBytes = view.getUint32(80, true) * view.getUint32(84, true);
    if (at === 512 && tableBytes <= MIB) {
      const table = new Uint8Array(tableBytes);
      content.read(Number(view.getBigUint64(72, true) & 0xffffn) * 512, table, 0, tableBytes);
      view.setUint32(88, crc32(table), true);
    }
    view.setUint32(16, 0, true);
    const size = view.getUint32(12, true);
    if (size <= 512) view.setUint32(16, crc32(header, 0, size), true);
    content.write(at, header, 0, 512);
  }
}
