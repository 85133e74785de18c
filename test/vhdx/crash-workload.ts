import type { DiskImage, ParentDisk } from '../../src/formats/disk-image.ts';
import { VhdxImage } from '../../src/formats/vhdx/index.ts';
import type { ByteStore } from '../../src/store/index.ts';
import type { FaultStore } from '../../src/store/testing/fault-store.ts';

export const SECTOR = 512;
export const MIB = 1024 * 1024;
const BLOCK_SECTORS = MIB / SECTOR;
/** A value that no operation writes: what the parent holds. */
const PARENT_TAG = 0x7fffffff;

/** What a sector held after an operation. Tag 0 is zeros. */
interface Version {
  readonly operation: number;
  readonly tag: number;
}

/** At this many events, these operations were acknowledged or covered by a flush. */
interface Mark {
  readonly events: number;
  readonly operation: number;
}

/** Opens the file under test: a VHDX unless told otherwise. */
export type OpenFile = (store: ByteStore, hostRun: string) => DiskImage;

/**
 * Runs random operations on a disk, each sector filled with a tag of its own, and remembers what each sector may hold:
 * after the death of the process the last acknowledged version, after a power cut that of the last flush or any later one.
 */
export class CrashWorkload {
  readonly sizeBytes: number;
  /** The blocks of 1 MiB that it works on, far apart, so that their metadata lies in several pages. */
  readonly #blocks: readonly number[];
  readonly #history: Version[][];
  readonly #acknowledged: Mark[] = [];
  readonly #flushed: Mark[] = [];
  readonly #random: () => number;
  readonly #hasParent: boolean;
  readonly #openFile: OpenFile;
  #operation = 0;

  constructor(
    sizeBytes: number,
    blocks: readonly number[],
    random: () => number,
    hasParent: boolean,
    openFile: OpenFile = (store, hostRun) => VhdxImage.open(store, { hostRun }),
  ) {
    this.#openFile = openFile;
    this.sizeBytes = sizeBytes;
    this.#blocks = blocks;
    this.#random = random;
    this.#hasParent = hasParent;
    const first: Version = { operation: 0, tag: hasParent ? PARENT_TAG : 0 };
    this.#history = Array.from({ length: blocks.length * BLOCK_SECTORS }, () => [first]);
  }

  open(store: ByteStore, hostRun: string): DiskImage {
    const image = this.#openFile(store, hostRun);
    if (this.#hasParent) image.setParent(parentDisk(this.sizeBytes, this.#blocks));
    return image;
  }

  /** Runs `count` operations; now and then the process dies without closing and opens the disk again. */
  async run(store: FaultStore, hostRun: string, count: number): Promise<DiskImage> {
    let image = this.open(store, hostRun);
    let flushing: Promise<void> | undefined;
    for (let step = 0; step < count; step++) {
      const choice = this.#random();
      if (choice < 0.6) this.#write(image, store);
      else if (choice < 0.7) this.#zero(image, store);
      else if (choice < 0.82) this.#trim(image, store);
      else if (choice < 0.96) {
        await flushing;
        flushing = this.#flush(image, store);
        if (this.#random() < 0.5) await flushing;
      } else if (choice < 0.975) {
        await flushing;
        await image.flush().catch(() => undefined);
        image = this.open(store, hostRun);
      } else if (choice < 0.98) {
        await flushing;
        await image.close();
        image = this.open(store, hostRun);
      }
    }
    await flushing;
    return image;
  }

  /** @returns what is wrong with the contents after the first `events` changes, or undefined */
  findWrongSector(image: DiskImage, events: number, model: 'death' | 'power-cut'): string | undefined {
    const acknowledged = lastBefore(this.#acknowledged, events);
    const kept = model === 'death' ? acknowledged : lastBefore(this.#flushed, events);
    const content = this.#read(image, 0, this.#history.length);
    const words = new Uint32Array(content.buffer);
    for (let sector = 0; sector < this.#history.length; sector++) {
      const at = (sector * SECTOR) / 4;
      const tag = words[at] ?? 0;
      const isWhole = words[at + SECTOR / 4 - 1] === tag && words[at + 1] === (tag === 0 ? 0 : sector);
      const history = this.#history[sector] ?? [];
      // One operation may be under way: its version is possible too.
      const oldest = history.findLastIndex(({ operation }) => operation <= kept);
      const possible = history.slice(Math.max(0, oldest)).filter(({ operation }) => operation <= acknowledged + 1);
      if (isWhole && possible.some((version) => version.tag === tag)) continue;
      return `sector ${sector} holds ${tag}${isWhole ? '' : ' (torn)'}, possible are ${possible.map(({ tag: value }) => value)} (kept ${kept}, acknowledged ${acknowledged})`;
    }
    return undefined;
  }

  #write(image: DiskImage, store: FaultStore): void {
    const maximum = this.#random() < 0.1 ? 3000 : 40;
    const first = Math.floor(this.#random() * this.#history.length);
    const count = Math.min(this.#history.length - first, 1 + Math.floor(this.#random() * maximum));
    const tag = ++this.#operation;
    const bytes = fill(first, count, tag);
    this.#remember(first, count, tag);
    this.#forEachPiece(first, count, (offset, from, length) => image.write(offset, bytes, from, length));
    this.#acknowledge(store);
  }

  #zero(image: DiskImage, store: FaultStore): void {
    const [first, count] = this.#range();
    this.#operation++;
    this.#remember(first, count, 0);
    const mayUnmap = this.#random() < 0.8;
    this.#forEachPiece(first, count, (offset, _from, length) => image.writeZeroes(offset, length, mayUnmap));
    this.#acknowledge(store);
  }

  #trim(image: DiskImage, store: FaultStore): void {
    const [first, count] = this.#range();
    const operation = ++this.#operation;
    // Trimmed sectors read as zero or as before: the disk is asked which, before and after.
    const before = this.#read(image, first, count);
    for (let sector = 0; sector < count; sector++) this.#history[first + sector]?.push({ operation, tag: 0 });
    this.#forEachPiece(first, count, (offset, _from, length) => image.trim(offset, length));
    const after = this.#read(image, first, count);
    for (let sector = 0; sector < count; sector++) {
      const start = sector * SECTOR;
      const old = before.subarray(start, start + SECTOR);
      if (Buffer.compare(old, after.subarray(start, start + SECTOR)) === 0) this.#history[first + sector]?.pop();
    }
    this.#acknowledge(store);
  }

  /** Whole blocks often, so that they lose their space. */
  #range(): [first: number, count: number] {
    const blocks = this.#blocks.length;
    if (this.#random() < 0.7) {
      const block = Math.floor(this.#random() * blocks);
      const count = Math.min(blocks - block, 1 + Math.floor(this.#random() * 2));
      return [block * BLOCK_SECTORS, count * BLOCK_SECTORS];
    }
    const first = Math.floor(this.#random() * this.#history.length);
    return [first, Math.min(this.#history.length - first, 1 + Math.floor(this.#random() * 100))];
  }

  #read(image: DiskImage, first: number, count: number): Uint8Array {
    const content = new Uint8Array(count * SECTOR);
    this.#forEachPiece(first, count, (offset, from, length) => image.read(offset, content, from, length));
    return content;
  }

  /** The places on the disk of a run of the workload's own sectors, block by block. */
  #forEachPiece(first: number, count: number, visit: (offset: number, from: number, length: number) => void): void {
    for (let done = 0; done < count; ) {
      const sector = first + done;
      const inBlock = sector % BLOCK_SECTORS;
      const pieces = Math.min(count - done, BLOCK_SECTORS - inBlock);
      const block = this.#blocks[Math.floor(sector / BLOCK_SECTORS)] ?? 0;
      visit(block * MIB + inBlock * SECTOR, done * SECTOR, pieces * SECTOR);
      done += pieces;
    }
  }

  async #flush(image: DiskImage, store: FaultStore): Promise<void> {
    const { length } = this.#acknowledged;
    const operation = this.#acknowledged[length - 1]?.operation ?? 0;
    await image.flush();
    this.#flushed.push({ events: store.events.length, operation });
  }

  #remember(first: number, count: number, tag: number): void {
    const version = { operation: this.#operation, tag };
    for (let sector = first; sector < first + count; sector++) this.#history[sector]?.push(version);
  }

  #acknowledge(store: FaultStore): void {
    this.#acknowledged.push({ events: store.events.length, operation: this.#operation });
  }
}

function lastBefore(marks: readonly Mark[], events: number): number {
  return marks.findLast((mark) => mark.events <= events)?.operation ?? 0;
}

function fill(first: number, count: number, tag: number): Uint8Array {
  const words = new Uint32Array((count * SECTOR) / 4).fill(tag);
  for (let sector = 0; sector < count; sector++) words[(sector * SECTOR) / 4 + 1] = first + sector;
  return new Uint8Array(words.buffer);
}

/** A parent that holds something in every sector: the sector's number among those of its block's place in the list. */
function parentDisk(sizeBytes: number, blocks: readonly number[]): ParentDisk {
  return {
    sizeBytes,
    read(offset, target, targetStart, length) {
      const index = blocks.indexOf(Math.floor(offset / MIB));
      const first = Math.max(0, index) * BLOCK_SECTORS + (offset % MIB) / SECTOR;
      target.set(fill(first, length / SECTOR, PARENT_TAG), targetStart);
    },
    *segments(offset, length, depth) {
      yield { offset, length, kind: 'data', depth, store: undefined, fileOffset: offset };
    },
  };
}
