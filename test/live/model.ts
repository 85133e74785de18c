import { randomGuid } from '../../src/binary/index.ts';
import type { BlockDevice } from '../../src/disk/block-device.ts';
import { DiskChain } from '../../src/disk/disk-chain.ts';
import type { ChainLayer } from '../../src/disk/open-chain.ts';
import { createVhdx, locatorPairs, VhdxImage } from '../../src/formats/vhdx/index.ts';
import type { ByteStore } from '../../src/store/index.ts';
import { MemoryStore } from '../../src/store/index.ts';

export const SECTOR = 512;
export const MIB = 1024 * 1024;
export const DISK_BYTES = 6 * MIB;
const SECTORS = DISK_BYTES / SECTOR;

/** A store that several openings of one test may use in turn: closing it is the test's. */
export interface LayerStore {
  readonly path: string;
  readonly store: ByteStore;
}

/**
 * What a disk's users know of it: each sector is filled with a number of its own. Remembers for each sector every value
 * since the last flush, because after a power cut any of them may be there.
 */
export class SectorModel {
  readonly now: Uint32Array<ArrayBuffer>;
  #flushed: Uint32Array<ArrayBuffer>;
  readonly #since = new Map<number, number[]>();
  /** A change that has been asked for and not been answered. */
  #asked: { readonly first: number; readonly count: number; readonly tag: number } | undefined;
  #lastTag = 0;

  constructor(initial = new Uint32Array(SECTORS)) {
    this.now = initial;
    this.#flushed = initial.slice();
  }

  /** One random change or flush of the device. */
  async change(device: BlockDevice, random: () => number): Promise<void> {
    const choice = random();
    if (choice < 0.12) {
      await device.flush();
      this.noteFlush();
      return;
    }
    const isWide = random() < 0.3;
    const first = Math.floor(random() * SECTORS);
    const count = Math.min(SECTORS - first, 1 + Math.floor(random() * (isWide ? 5000 : 60)));
    const offset = first * SECTOR;
    const length = count * SECTOR;
    const tag = choice < 0.7 ? 0x1000 + ++this.#lastTag : 0;
    this.#asked = { first, count, tag };
    if (choice < 0.7) device.write(offset, fill(count, tag), 0, length);
    else if (choice < 0.85) device.writeZeroes(offset, length, random() < 0.7);
    else device.trim(offset, length);
    this.#asked = undefined;
    const isTrim = choice >= 0.85;
    const found = isTrim ? tagsOf(device, offset, count) : undefined;
    for (let at = 0; at < count; at++) {
      const sector = first + at;
      const value = found ? (found[at] ?? 0) : tag;
      // A trim leaves what was, or zeros.
      if (found && value !== 0 && value !== this.now[sector]) throw new Error(`a trim put ${value} into ${sector}`);
      if (value !== this.now[sector]) this.#since.set(sector, [...(this.#since.get(sector) ?? []), value]);
      this.now[sector] = value;
    }
  }

  /** Everything until now was made durable by somebody else than change(). */
  noteFlush(): void {
    this.#flushed = this.now.slice();
    this.#since.clear();
  }

  /** @returns what is wrong: after the death of the process every answered change is there */
  wrongAfterDeath(device: Pick<BlockDevice, 'read'>): string | undefined {
    return this.#firstWrong(device, (sector) => [this.now[sector] ?? 0]);
  }

  /** @returns what is wrong: after a power cut every change before the last flush is there, and perhaps later ones */
  wrongAfterPowerCut(device: Pick<BlockDevice, 'read'>): string | undefined {
    return this.#firstWrong(device, (sector) => [this.#flushed[sector] ?? 0, ...(this.#since.get(sector) ?? [])]);
  }

  #firstWrong(device: Pick<BlockDevice, 'read'>, possible: (sector: number) => number[]): string | undefined {
    const found = tagsOf(device, 0, SECTORS);
    const asked = this.#asked;
    for (let sector = 0; sector < SECTORS; sector++) {
      const values = possible(sector);
      if (asked && sector >= asked.first && sector < asked.first + asked.count) values.push(asked.tag);
      if (!values.includes(found[sector] ?? -1)) return `sector ${sector} holds ${found[sector]}, not ${values}`;
    }
    return undefined;
  }
}

function fill(count: number, tag: number): Uint8Array {
  return new Uint8Array(new Uint32Array((count * SECTOR) / 4).fill(tag).buffer);
}

/** The number in each sector; -1 as unsigned where a sector holds no single one. */
export function tagsOf(device: Pick<BlockDevice, 'read'>, offset: number, count: number): Uint32Array {
  const bytes = new Uint8Array(count * SECTOR);
  device.read(offset, bytes, 0, bytes.length);
  const words = new Uint32Array(bytes.buffer);
  const step = SECTOR / 4;
  return Uint32Array.from({ length: count }, (_, sector) => {
    const tag = words[sector * step] ?? 0;
    for (let word = 1; word < step; word++) if (words[sector * step + word] !== tag) return 0xffffffff;
    return tag;
  });
}

/** A chain of `depth` files, the leaf first, each with random contents of its own; and what the whole reads as. */
export async function makeChain(
  depth: number,
  random: () => number,
): Promise<{ readonly layers: { path: string; store: MemoryStore }[]; readonly tags: Uint32Array<ArrayBuffer> }> {
  const layers: { path: string; store: MemoryStore }[] = [];
  const model = new SectorModel();
  for (let level = 0; level < depth; level++) {
    const store = new MemoryStore();
    const below = layers[0];
    const spec = { virtualSizeBytes: DISK_BYTES, blockSizeBytes: (random() < 0.5 ? 1 : 2) * MIB };
    if (below) {
      const paths = { relativePath: `.\\${level - 1}.vhdx`, absolutePath: undefined };
      const linkage = VhdxImage.open(below.store, { readOnly: true }).contentId;
      createVhdx(store, { ...spec, type: 'differencing', locator: locatorPairs(linkage, randomGuid(), paths) });
    } else createVhdx(store, { ...spec, type: 'dynamic' });
    layers.unshift({ path: `/chain/${level}.vhdx`, store });
    const chain = openLayers(layers, undefined);
    for (let step = 0; step < 12; step++) await model.change(chain, random);
    await chain.close();
  }
  return { layers, tags: model.now.slice() };
}

/** Opens a chain whose parents may be merged. */
export function openLayers(layers: readonly LayerStore[], hostRun: string | undefined): DiskChain {
  const opened = layers.map(({ path, store }, depth): ChainLayer => {
    const image = VhdxImage.open(store, { readOnly: depth > 0, hostRun });
    return { image, path, identity: path, writeAccess: { take: () => store, giveBack: () => {} } };
  });
  opened.forEach(({ image }, depth) => {
    const parent = opened[depth + 1];
    if (!parent) return;
    const linkages = image.parentReference?.linkages ?? [];
    if (!linkages.includes(parent.image.contentId)) throw new Error(`${image.name} does not belong above its parent`);
    image.setParent(parent.image);
  });
  return new DiskChain(opened);
}
