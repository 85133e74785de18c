import { type LongOptions, throwIfAborted } from '../../async/index.ts';
import { parseGuid, roundUp } from '../../binary/index.ts';
import { HvError, invariant } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import {
  type DiskImage,
  type DiskType,
  type HeldBlock,
  joinSegments,
  type ParentDisk,
  type ParentReference,
  type Segment,
} from '../disk-image.ts';
import { corrupt } from './corruption.ts';
import type { NewVhdParent } from './create.ts';
import { type DynamicHeader, type LocatorEntry, readDynamicHeader, withParent } from './dynamic-header.ts';
import { FixedBody } from './fixed-body.ts';
import { findFooters, readFooter, type VhdFooter, withUniqueId } from './footer.ts';
import { FOOTER_BYTES, HEADER_BYTES, SECTOR } from './format.ts';
import { newLocators, readParentReference } from './locator.ts';
import { repairFooters } from './repair-footers.ts';
import { finishGrowing, growDynamic, growingRange, resizeFixed, shrinkDynamic, validateSize } from './resize.ts';
import { SparseBody } from './sparse-body.ts';
import type { VhdBody } from './vhd-body.ts';

/** So much is moved at once: nothing else can be done with the disk meanwhile. */
const RECLAIM_BYTES = 64 * 1024 * 1024;

export interface OpenVhdImageOptions {
  readonly readOnly?: boolean;
  /** Make space ready in the background; default true. */
  readonly background?: boolean;
}

/**
 * An open VHD file of any type: fixed, dynamic or differencing.
 *
 * VHD has no log. What keeps it safe is order: a block is whole and durable, with the file's footer behind it, before
 * anything points at it; a block that was freed is used again only after a flush; above a parent, a sector's bit is set
 * only over contents that are durably right with it and without it (see OldContents). The copy of the footer at the
 * file's start is never touched by that, so the file can be opened at every moment.
 * Source: Virtual Hard Disk Image Format Specification. Owns its store.
 */
export class VhdImage implements DiskImage {
  readonly format = 'vhd';
  readonly logicalSectorSizeBytes = SECTOR;
  readonly physicalSectorSizeBytes = SECTOR;
  readonly #store: ByteStore;
  readonly #background: boolean;
  #footer!: VhdFooter; // #load() sets these three
  #header: DynamicHeader | undefined;
  #body!: VhdBody;
  #reference: ParentReference | undefined;
  #parent: ParentDisk | undefined;
  #readOnly: boolean;
  #isChanged = false;
  #isOpen = true;
  #flushing: Promise<void> | undefined;
  #nextFlush: Promise<void> | undefined;

  /**
   * Opens a file by its trailing footer, or by the copy at its start where that one is damaged.
   * A differencing file needs setParent() before it is read where it holds nothing itself.
   * @throws HvError `corrupt`, `io`
   */
  static open(store: ByteStore, options: OpenVhdImageOptions = {}): VhdImage {
    return new VhdImage(store, options);
  }

  private constructor(store: ByteStore, options: OpenVhdImageOptions) {
    this.#store = store;
    this.#readOnly = options.readOnly ?? store.readOnly;
    this.#background = options.background ?? true;
    this.#load();
  }

  #load(): void {
    const store = this.#store;
    this.#footer = readFooter(store);
    const { type, sizeBytes } = this.#footer;
    if (type === 'fixed') {
      if (sizeBytes > findFooters(store).trailingOffset) throw corrupt(store.name, 'disk-size', 0, sizeBytes);
      if (this.#readOnly) {
        this.#body = new FixedBody(store, growingRange(this.#footer));
        return;
      }
      finishGrowing(store, this.#footer);
      this.#footer = readFooter(store);
      this.#body = new FixedBody(store);
      return;
    }
    this.#header = readDynamicHeader(store, this.#footer);
    this.#body = new SparseBody(store, this.#header, {
      hasParent: type === 'differencing',
      sizeBytes,
      readOnly: this.#readOnly,
      footer: () => this.#footer.bytes,
      inBackground: this.#background,
    });
    this.#reference = type === 'differencing' ? readParentReference(store, this.#header) : undefined;
    if (this.#parent) this.#body.setParent(this.#parent);
  }

  get name(): string {
    return this.#store.name;
  }

  get store(): ByteStore {
    return this.#store;
  }

  get readOnly(): boolean {
    return this.#readOnly;
  }

  get type(): DiskType {
    return this.#footer.type;
  }

  get sizeBytes(): number {
    return this.#footer.sizeBytes;
  }

  get blockSizeBytes(): number | null {
    return this.#body.blockSizeBytes;
  }

  get footer(): VhdFooter {
    return this.#footer;
  }

  /** Of a dynamic or differencing file. */
  get header(): DynamicHeader | undefined {
    return this.#header;
  }

  get virtualDiskId(): string {
    return this.#footer.uniqueId;
  }

  /** A VHD's unique id, which stays when the contents change: children know their parent by nothing else. */
  get contentId(): string {
    return this.#footer.uniqueId;
  }

  get parentReference(): ParentReference | undefined {
    return this.#reference;
  }

  setParent(parent: ParentDisk): void {
    this.#parent = parent;
    this.#body.setParent(parent);
  }

  read(offset: number, target: Uint8Array, targetStart: number, length: number): void {
    this.#mustContain(offset, length);
    this.#body.read(offset, target, targetStart, length);
  }

  write(offset: number, source: Uint8Array, sourceStart: number, length: number): void {
    this.#mustContain(offset, length);
    this.#beforeChange();
    this.#body.write(offset, source, sourceStart, length);
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): void {
    this.#mustContain(offset, length);
    this.#beforeChange();
    this.#body.writeZeroes(offset, length, mayUnmap);
  }

  trim(offset: number, length: number): void {
    this.#mustContain(offset, length);
    if (this.type === 'fixed') return;
    this.#beforeChange();
    this.#body.trim(offset, length);
  }

  resize(sizeBytes: number): void {
    this.#mustBeWritable();
    validateSize(this.name, this.type, sizeBytes);
    if (sizeBytes === this.sizeBytes) return;
    this.#restructure(() => {
      if (!this.#header) {
        resizeFixed(this.#store, this.#footer, findFooters(this.#store).trailingOffset, sizeBytes);
        return;
      }
      const { endOffset } = this.#sparse();
      const disk = { store: this.#store, footer: this.#footer, header: this.#header, endOffset };
      if (sizeBytes > this.sizeBytes) growDynamic(disk, sizeBytes);
      else shrinkDynamic(disk, sizeBytes);
    });
  }

  /** A change of what #load() reads, of a file that ends behind its last block; afterwards the file is read anew. */
  #restructure(change: () => void): void {
    this.#beforeChange();
    this.#body.finish();
    try {
      change();
    } catch (error) {
      // What of the change reached the file counts. Where not even that can be read, nothing more is written.
      try {
        this.#load();
      } catch {
        this.#readOnly = true;
      }
      throw error;
    }
    this.#load();
  }

  *heldBlocks(): Generator<HeldBlock> {
    if (this.#header) yield* this.#sparse().heldBlocks();
  }

  releaseZeroBlock(offset: number): boolean {
    this.#mustBeWritable();
    this.#beforeChange();
    return this.#sparse().releaseZeroBlock(offset);
  }

  async reclaimSpace({ signal, onProgress }: LongOptions): Promise<void> {
    this.#mustBeWritable();
    if (!this.#header) return;
    await this.flush();
    const total = this.#sparse().movableBytes;
    if (total === 0 && this.#store.size() === this.#sparse().endOffset + FOOTER_BYTES) return;
    this.#beforeChange();
    for (let done = 0; ; ) {
      throwIfAborted(signal, 'reclaiming the space of the file');
      const moved = this.#sparse().reclaimSome(RECLAIM_BYTES);
      if (moved === 0) return;
      done += moved;
      onProgress?.({ phase: 'reclaim', done: Math.min(done, total), total });
      // Lets an abort and everything else in the process have its turn.
      await new Promise(setImmediate);
      this.#mustBeWritable();
    }
  }

  /** The unique id is what children know their parent by: with another one they are linked with it no more. */
  changeVirtualDiskId(id: string): void {
    this.#mustBeWritable();
    const bytes = withUniqueId(this.#footer.bytes, parseGuid(id));
    this.#beforeChange();
    this.#body.flushSync();
    this.#store.write(findFooters(this.#store).trailingOffset, bytes, 0, FOOTER_BYTES);
    this.#store.flushSync();
    if (this.#header) this.#store.write(0, bytes, 0, FOOTER_BYTES);
    this.#store.flushSync();
    this.#footer = { ...this.#footer, uniqueId: parseGuid(id), bytes };
  }

  /**
   * Makes a differencing file name another parent, durably and as one: the new locators are written beside the old ones,
   * then the header that points at them.
   * @throws HvError `invalid-state` (no differencing file), `invalid-argument` (a path is too long), `no-space`, `io`
   */
  replaceParent(parent: NewVhdParent): void {
    this.#mustBeWritable();
    const header = this.#header;
    if (!header || this.type !== 'differencing') {
      throw new HvError('invalid-state', `${this.name} is not a differencing disk`, { detail: { path: this.name } });
    }
    const locators = newLocators(parent.paths);
    this.#restructure(() => {
      const entries: LocatorEntry[] = [];
      const needed = locators.reduce((sum, { bytes }) => sum + roundUp(bytes.length, SECTOR), 0);
      let at = this.#placeFor(needed);
      for (const { platform, bytes } of locators) {
        const spaceBytes = roundUp(bytes.length, SECTOR);
        const padded = new Uint8Array(spaceBytes);
        padded.set(bytes);
        this.#store.write(at, padded, 0, spaceBytes);
        entries.push({ platform, fileOffset: at, spaceBytes, length: bytes.length });
        at += spaceBytes;
      }
      this.#store.flushSync();
      this.#store.write(header.fileOffset, withParent(header.bytes, { ...parent, locators: entries }), 0, HEADER_BYTES);
      this.#store.flushSync();
    });
  }

  /** Room in the file that belongs to nothing: between its structures, or behind them, with the footer moved. */
  #placeFor(length: number): number {
    for (const gap of this.#sparse().gaps()) {
      const at = roundUp(gap.fileOffset, SECTOR);
      if (at + length <= gap.fileOffset + gap.length) return at;
    }
    const end = roundUp(this.#sparse().endOffset, SECTOR);
    this.#store.write(end + length, this.#footer.bytes, 0, FOOTER_BYTES);
    return end;
  }

  flush(): Promise<void> {
    if (this.#readOnly) return Promise.resolve();
    if (!this.#flushing) {
      this.#flushing = this.#body.flush().finally(() => {
        this.#flushing = undefined;
      });
      return this.#flushing;
    }
    this.#nextFlush ??= this.#flushing
      .catch(() => undefined)
      .then(() => {
        this.#nextFlush = undefined;
        return this.flush();
      });
    return this.#nextFlush;
  }

  flushSync(): void {
    if (!this.#readOnly) this.#body.flushSync();
  }

  seal(): void {
    if (this.#readOnly) return;
    if (this.#isChanged) this.#body.finish();
    this.#readOnly = true;
  }

  settleContentId(): string {
    this.#mustBeWritable();
    return this.contentId;
  }

  /**
   * Nothing to do: a child knows its parent by the unique id alone, which a merge does not change. The two belong together
   * at every moment because what the merge writes into the parent is what this file itself holds there, so it hides it.
   */
  announceMerge(): void {
    this.#mustBeWritable();
  }

  segments(offset: number, length: number, depth = 0): Generator<Segment> {
    this.#mustContain(offset, length);
    return joinSegments(this.#body.segments(offset, length, depth));
  }

  /** There is no log, so nothing ever lies over the file. */
  isOverlaid(): boolean {
    return false;
  }

  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    try {
      await (this.#nextFlush ?? this.#flushing);
      await this.#body.settle();
      this.seal();
    } finally {
      this.#readOnly = true;
      this.#store.close();
    }
  }

  #beforeChange(): void {
    this.#mustBeWritable();
    if (this.#isChanged) return;
    this.#repairFooters();
    this.#isChanged = true;
  }

  /** Where one of the two footers is damaged or differs, it becomes as the one that counts, before anything is built on it. */
  #repairFooters(): void {
    if (!this.#header) return;
    repairFooters(this.#store, this.#footer.bytes, this.#sparse().endOffset);
  }

  #sparse(): SparseBody {
    invariant(this.#body instanceof SparseBody, 'a file with a dynamic header has blocks');
    return this.#body;
  }

  #mustBeWritable(): void {
    if (this.#readOnly) {
      throw new HvError('permission-denied', `${this.name} is open for reading only`, { detail: { path: this.name } });
    }
  }

  #mustContain(offset: number, length: number): void {
    if (offset >= 0 && length >= 0 && offset + length <= this.sizeBytes) return;
    throw new HvError('invalid-argument', `the range is outside of the disk ${this.name}`, {
      detail: { path: this.name, offset, length, sizeBytes: this.sizeBytes },
    });
  }
}
