import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { randomGuid } from '../../src/binary/index.ts';
import { compactImage } from '../../src/disk/compaction.ts';
import { findVolumes } from '../../src/disk/volumes/find-volumes.ts';
import type { DiskImage, ParentDisk } from '../../src/formats/disk-image.ts';
import { createVhdImage, VhdImage } from '../../src/formats/vhd/index.ts';
import { createVhdx, locatorPairs, VhdxImage } from '../../src/formats/vhdx/index.ts';
import { type ByteStore, MemoryStore } from '../../src/store/index.ts';
import { FaultStore, seededRandom } from '../../src/store/testing/fault-store.ts';
import { FAT_KINDS, KINDS, makeVolume, noise, type VolumeKind } from './file-systems.ts';
import { MIB, TemporaryFolder } from './tools.ts';

export interface CompactCrashRun {
  readonly format: 'vhdx' | 'vhd';
  readonly type: 'dynamic' | 'differencing';
  readonly volume: 'fat' | 'ext4';
  readonly seed: number;
  /** Looks at every n-th moment, and before each flush, where most is at stake: several times then. */
  readonly every: number;
}

/** Each has its own choice of what was lost. */
const CUTS_BEFORE_FLUSH = 4;
const HOST_RUN = randomGuid();
const KIND: Readonly<Record<CompactCrashRun['volume'], VolumeKind>> = {
  fat: { ...(FAT_KINDS[0] as VolumeKind), sizeBytes: 10 * MIB },
  ext4: { ...(KINDS.find(({ title }) => title === 'ext4 of 1 KiB blocks') as VolumeKind), sizeBytes: 14 * MIB },
};

function create(store: ByteStore, run: CompactCrashRun, sizeBytes: number): void {
  const { format, type } = run;
  const isChild = type === 'differencing';
  if (format === 'vhdx') {
    const locator = locatorPairs(randomGuid(), randomGuid(), { relativePath: '.\\p.vhdx', absolutePath: undefined });
    createVhdx(store, { type, virtualSizeBytes: sizeBytes, blockSizeBytes: MIB, ...(isChild ? { locator } : {}) });
    return;
  }
  const parent = {
    uniqueId: randomGuid(),
    timestamp: 0,
    name: 'p.vhd',
    paths: { relativePath: '.\\p.vhd', absolutePath: undefined },
  };
  createVhdImage(store, {
    type,
    virtualSizeBytes: sizeBytes,
    blockSizeBytes: 512 * 1024,
    ...(isChild ? { parent } : {}),
  });
}

/** Runs a compaction, and looks at what each moment of it left: after death, and after a power cut. @returns how many moments */
export async function crashCompaction(run: CompactCrashRun): Promise<number> {
  using folder = new TemporaryFolder();
  makeVolume(KIND[run.volume], folder.file('volume.raw'), true);
  const contents = readFileSync(folder.file('volume.raw'));
  const sizeBytes = contents.length;
  const initial = new MemoryStore();
  create(initial, run, sizeBytes);
  const parentBytes = noise(sizeBytes, 7);
  const parent: ParentDisk | undefined =
    run.type === 'dynamic'
      ? undefined
      : {
          sizeBytes,
          read: (offset, target, start, length) => target.set(parentBytes.subarray(offset, offset + length), start),
          *segments(offset, length, depth) {
            yield { offset, length, kind: 'data', depth, store: undefined, fileOffset: offset };
          },
        };
  const open = (store: ByteStore): DiskImage => {
    const image = run.format === 'vhdx' ? VhdxImage.open(store, { hostRun: HOST_RUN }) : VhdImage.open(store);
    if (parent) image.setParent(parent);
    return image;
  };
  {
    const image = open(initial);
    for (let at = 0; at < sizeBytes; at += MIB) image.write(at, contents, at, Math.min(MIB, sizeBytes - at));
    // A block of zeros where a file was, as far as anybody knows.
    await image.close();
  }
  const free = findVolumes(open(initial)).flatMap((volume) => [...volume.freeRanges()]);
  const isFree = new Uint8Array(sizeBytes / 512);
  for (const { offset, length } of free) isFree.fill(1, offset / 512, (offset + length) / 512);
  expect(isFree.reduce((sum, bit) => sum + bit, 0)).toBeGreaterThan(3000);

  const store = new FaultStore(initial);
  const running = open(store);
  const result = await compactImage(running, parent);
  const canFree = run.type === 'dynamic' || run.format === 'vhdx';
  expect(result.freedFileSystemBytes).toBeGreaterThan(canFree ? 2 * MIB : 0);
  await running.close();

  const zeros = Buffer.alloc(512);
  const got = Buffer.alloc(sizeBytes);
  const wrong = (image: DiskImage): string | undefined => {
    image.read(0, got, 0, sizeBytes);
    if (got.equals(contents)) return undefined;
    for (let sector = 0; sector < isFree.length; sector++) {
      const now = got.subarray(sector * 512, sector * 512 + 512);
      if (now.equals(contents.subarray(sector * 512, sector * 512 + 512))) continue;
      // What was free may be gone. It is never what the parent has.
      if (isFree[sector] === 1 && now.equals(zeros)) continue;
      return `sector ${sector}${isFree[sector] === 1 ? ', which is free' : ''}`;
    }
    return undefined;
  };
  const random = seededRandom(run.seed);
  const replay = store.replayer();
  let moments = 0;
  for (let events = 0; events <= store.events.length; events++) {
    replay.advance(events);
    const isBeforeFlush = store.events[events]?.kind === 'flush';
    if (events % run.every !== 0 && !isBeforeFlush) continue;
    moments++;
    const cuts = Array.from({ length: isBeforeFlush ? CUTS_BEFORE_FLUSH : 1 }, () => 'power cut');
    for (const model of ['death', ...cuts]) {
      const where = `${model} after event ${events} of ${store.events.length}, seed ${run.seed}`;
      const content = model === 'death' ? replay.content() : replay.afterPowerCut(random);
      const image = open(content);
      expect(wrong(image), where).toBeUndefined();
      if (moments % 5 === 0) {
        await compactImage(image, parent);
        expect(wrong(image), `${where}, compacted again`).toBeUndefined();
      }
      await image.close();
      expect(wrong(open(content)), `${where}, closed`).toBeUndefined();
    }
  }
  return moments;
}
