import type { LongOptions } from '../../async/index.ts';
import { randomGuid, ZERO_GUID } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import type { ChangeObserver, ImageState } from '../change-observer.ts';
import {
  type DiskImage,
  type DiskType,
  type HeldBlock,
  joinSegments,
  type ParentDisk,
  type Segment,
} from '../disk-image.ts';
import { BlockTable, offsetIn, setEntryIn, stateIn } from './block-table.ts';
import { ChangeNotes } from './change-notes.ts';
import { BITMAP, BITMAP_BLOCK_BYTES, MIB, PAYLOAD, SECTORS_PER_BITMAP_BLOCK, type VhdxHeader } from './format.ts';
import { readCurrentHeader } from './header.ts';
import { replaceLocator } from './inspect.ts';
import { HeaderPair, Journal } from './journal.ts';
import { type ParentLocator, withLinkages } from './locator.ts';
import { replayLog } from './log-reader.ts';
import { logChanges } from './logged-change.ts';
import { readItem, readMetadata, type VhdxMetadata } from './metadata.ts';
import { MetadataCache, type MetadataPage } from './metadata-cache.ts';
import {
  changePhysicalSectorSize,
  changeVirtualDiskId,
  deleteUserItem,
  findUserItem,
  setUserItem,
  type UserItem,
  userItems,
} from './metadata-items.ts';
import { occupyStructures } from './occupancy.ts';
import { reclaimSpace } from './reclaim.ts';
import { readRegions, type VhdxRegions } from './regions.ts';
import { ReplayOverlay } from './replay-targets.ts';
import { type ChangedImage, growTable, type ImageParts, shrinkTable, validateSize } from './resize.ts';
import { clearBits, countBitPages, readBitRun, setBits } from './sector-bitmap.ts';
import { type BlockView, blockSegments } from './segments.ts';
import { SpaceAllocator } from './space.ts';

const ZEROS = new Uint8Array(MIB);
/** A shorter range is written as zeros rather than punched: a hole would cost more than it gives back. */
const MIN_HOLE_BYTES = 64 * 1024;
/** From here on the log is emptied in the background rather than in the way of a write. */
const LOG_BUSY = 0.5;

export interface OpenVhdxOptions {
  readonly readOnly?: boolean;
  /** Names this run of the host (its boot id as a GUID): see LogWriter on unsynced entries. */
  readonly hostRun?: string | undefined;
  /** Empty the log in the background when it fills; default true. */
  readonly backgroundFlush?: boolean;
  /** Is told of every change before it happens. The image closes it. */
  readonly changes?: ChangeObserver | undefined;
}

/**
 * An open VHDX file of any type: fixed, dynamic or differencing.
 * Reads and writes take bytes of the virtual disk; all calls but flush and close are synchronous.
 * Source: [MS-VHDX]. Owns its store.
 */
export class VhdxImage implements DiskImage {
  readonly format = 'vhdx';
  readonly #store: ByteStore;
  #metadata: VhdxMetadata;
  #regions: VhdxRegions;
  readonly #overlay: ReplayOverlay | undefined;
  readonly #cache: MetadataCache;
  #table: BlockTable;
  readonly #space: SpaceAllocator;
  readonly #journal: Journal;
  readonly #backgroundFlush: boolean;
  readonly #blockSize: number;
  readonly #sectorSize: number;
  readonly #chunkBytes: number;
  #sizeBytes: number;
  #readOnly: boolean;
  #parent: ParentDisk | undefined;
  #isOpen = true;
  readonly #notes: ChangeNotes;
  #flushing: Promise<void> | undefined;
  #nextFlush: Promise<void> | undefined;
  /** The entry that #find looked up last. */
  #state = 0;
  #fileOffset = 0;

  /**
   * Opens a file. A log in use is replayed: into the file, or in memory when it is opened for reading only.
   * A differencing file needs setParent() before it is read where it holds nothing itself.
   * @throws HvError `corrupt`, `unsupported`, `io`
   */
  static open(store: ByteStore, options: OpenVhdxOptions = {}): VhdxImage {
    return new VhdxImage(store, options);
  }

  private constructor(base: ByteStore, options: OpenVhdxOptions) {
    this.#readOnly = options.readOnly ?? base.readOnly;
    const current = readCurrentHeader(base);
    const headers = new HeaderPair(base, current);
    headers.observer = options.changes;
    let store = base;
    if (current.header.logGuid !== ZERO_GUID) {
      if (this.#readOnly) {
        this.#overlay = new ReplayOverlay(base);
        store = this.#overlay;
        replayLog(base, current.header, this.#overlay, { inMemory: true, hostRun: options.hostRun });
      } else {
        for (const _flush of headers.replay(options.hostRun)) base.flushSync();
      }
    }
    this.#store = store;
    this.#regions = readRegions(store, headers.header);
    this.#metadata = readMetadata(store, this.#regions.metadata);
    this.#sizeBytes = this.#metadata.virtualSizeBytes;
    this.#blockSize = this.#metadata.blockSizeBytes;
    this.#sectorSize = this.#metadata.logicalSectorSizeBytes;
    this.#chunkBytes = SECTORS_PER_BITMAP_BLOCK * this.#sectorSize;
    this.#backgroundFlush = options.backgroundFlush ?? true;

    const { occupancy, structuresEnd } = occupyStructures(headers.header, this.#regions.all);
    this.#cache = new MetadataCache(store);
    this.#table = new BlockTable(store.name, this.#cache, occupancy, this.#regions.bat, this.#metadata, {
      sizeBytes: store.size(),
      structuresEnd,
    });
    this.#space = new SpaceAllocator(store, occupancy, this.#table.endOffset);
    if (!this.#readOnly && this.#table.isFullyChecked && !this.#metadata.leaveBlockAllocated) this.#space.adoptGaps();
    this.#journal = new Journal(store, headers, this.#cache, this.#space, {
      hostRun: options.hostRun,
      payloadFirst: this.#metadata.hasParent,
    });
    this.#notes = new ChangeNotes(this.#journal, this);
    if (options.changes) this.observeChanges(options.changes);
  }

  get metadata(): VhdxMetadata {
    return this.#metadata;
  }

  /** As it is now: resize() changes it. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get name(): string {
    return this.#store.name;
  }

  get readOnly(): boolean {
    return this.#readOnly;
  }

  /** The current header: its GUIDs identify the file's and the disk's contents. */
  get header(): VhdxHeader {
    return this.#journal.header;
  }

  get regions(): VhdxRegions {
    return this.#regions;
  }

  get store(): ByteStore {
    return this.#store;
  }

  get blockSizeBytes(): number {
    return this.#blockSize;
  }

  get logicalSectorSizeBytes(): number {
    return this.#sectorSize;
  }

  get physicalSectorSizeBytes(): number {
    return this.#metadata.physicalSectorSizeBytes;
  }

  get virtualDiskId(): string {
    return this.#metadata.virtualDiskId;
  }

  get contentId(): string {
    return this.header.dataWriteGuid;
  }

  get parentReference(): ParentLocator | undefined {
    return this.#metadata.locator;
  }

  get type(): DiskType {
    if (this.#metadata.hasParent) return 'differencing';
    return this.#metadata.leaveBlockAllocated ? 'fixed' : 'dynamic';
  }

  /** Who is told of changes; undefined also after it failed to note one. */
  get changes(): ChangeObserver | undefined {
    return this.#notes.observer;
  }

  get state(): ImageState {
    const { fileWriteGuid, sequenceNumber } = this.header;
    return { sizeBytes: this.sizeBytes, fileWriteGuid, headerSequence: sequenceNumber };
  }

  /** Whether FileWriteGuid has changed in this session: it stays as it is until the session's end then. */
  get hasNewFileGuid(): boolean {
    return this.#journal.hasNewFileGuid;
  }

  /** From here on the observer is told of every change before it happens; the image closes it. */
  observeChanges(changes: ChangeObserver): void {
    this.#notes.begin(changes);
  }

  /** Everything may read differently from here on: another parent, say. */
  noteAllChanged(): void {
    this.#notes.before(0, this.#sizeBytes);
  }

  /** Lets go of the observer, which stays the caller's. What changes from here on, it is not told. */
  stopObserving(): void {
    this.#notes.stop();
  }

  setParent(parent: ParentDisk): void {
    this.#parent = parent;
  }

  /** @throws HvError `invalid-argument` (out of range), `io`, `corrupt` */
  read(offset: number, target: Uint8Array, targetStart: number, length: number): void {
    this.#mustContain(offset, length);
    this.#cache.trim();
    const blockSize = this.#blockSize;
    let at = offset;
    let targetAt = targetStart;
    let left = length;
    while (left > 0) {
      const block = Math.floor(at / blockSize);
      const inBlock = at - block * blockSize;
      const count = Math.min(left, blockSize - inBlock);
      this.#find(block);
      if (this.#state === PAYLOAD.full) this.#store.read(this.#fileOffset + inBlock, target, targetAt, count);
      else if (this.#state === PAYLOAD.partial) this.#readPartial(block, at, inBlock, target, targetAt, count);
      else if (this.#state === PAYLOAD.notPresent) this.#readParent(at, target, targetAt, count);
      else target.fill(0, targetAt, targetAt + count);
      at += count;
      targetAt += count;
      left -= count;
    }
  }

  /** @throws HvError `permission-denied`, `invalid-argument`, `io`, `no-space`, `corrupt` */
  write(offset: number, source: Uint8Array, sourceStart: number, length: number): void {
    this.#mustContain(offset, length);
    this.#beforeChange();
    this.#notes.before(offset, length);
    this.#cache.trim();
    const blockSize = this.#blockSize;
    let at = offset;
    let sourceAt = sourceStart;
    let left = length;
    while (left > 0) {
      const block = Math.floor(at / blockSize);
      const inBlock = at - block * blockSize;
      const count = Math.min(left, blockSize - inBlock);
      this.#find(block);
      if (this.#state === PAYLOAD.full) this.#store.write(this.#fileOffset + inBlock, source, sourceAt, count);
      else if (this.#metadata.hasParent) this.#writeOverParent(block, at, inBlock, source, sourceAt, count);
      else this.#writeNewBlock(block, inBlock, source, sourceAt, count);
      at += count;
      sourceAt += count;
      left -= count;
    }
  }

  /** The range reads as zero afterwards. Whole blocks lose their space when `mayUnmap` says so and the disk is not fixed. */
  writeZeroes(offset: number, length: number, mayUnmap: boolean): void {
    this.#mustContain(offset, length);
    this.#beforeChange();
    this.#forEachBlock(offset, length, (block, at, count, isWhole) => {
      const state = this.#state;
      const readsZero = state === PAYLOAD.zero || (state === PAYLOAD.notPresent && !this.#metadata.hasParent);
      if (readsZero) return;
      this.#notes.before(at, count);
      const isPresent = state === PAYLOAD.full || state === PAYLOAD.partial;
      const mayFree = mayUnmap && !this.#metadata.leaveBlockAllocated;
      if (isWhole && (!isPresent || mayFree)) {
        this.#dropBlock(block, PAYLOAD.zero);
      } else if (state === PAYLOAD.full && mayFree && count >= MIN_HOLE_BYTES) {
        this.#store.punchHole(this.#fileOffset + (at % this.#blockSize), count);
      } else if (isPresent || state === PAYLOAD.notPresent) {
        for (let done = 0; done < count; done += ZEROS.length) {
          this.write(at + done, ZEROS, 0, Math.min(ZEROS.length, count - done));
        }
      }
    });
  }

  /** Whole blocks become unmapped and read as zero; parts of blocks stay as they are. A fixed disk ignores it. */
  trim(offset: number, length: number): void {
    this.#mustContain(offset, length);
    if (this.#metadata.leaveBlockAllocated) return;
    this.#forEachBlock(offset, length, (block, at, count, isWhole) => {
      if (!isWhole || (this.#state !== PAYLOAD.full && this.#state !== PAYLOAD.partial)) return;
      this.#beforeChange();
      this.#notes.before(at, count);
      this.#find(block);
      this.#dropBlock(block, PAYLOAD.unmapped);
    });
  }

  /** Everything written before survives a power cut when it returns. Calls that wait for the same flush share one. */
  flush(): Promise<void> {
    if (this.#readOnly) return Promise.resolve();
    this.#notes.tell((changes) => changes.flushed());
    if (!this.#flushing) {
      this.#flushing = this.#journal.run(this.#journal.flushSteps()).finally(() => {
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

  /** The same, at once: for moments in which nothing may come between. */
  flushSync(): void {
    if (!this.#readOnly) this.#journal.runNow(this.#journal.flushSteps());
  }

  /** Ends writing: everything in its place, the log empty, the headers closed. The file stays open for reading. */
  seal(): void {
    if (this.#readOnly) return;
    this.#journal.runNow(this.#journal.closeSteps());
    this.#notes.end();
    this.#readOnly = true;
  }

  /** Ends writing in order and closes the file. Idempotent. @throws HvError `io`, `no-space`; the file is closed even then */
  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    try {
      await (this.#nextFlush ?? this.#flushing);
      if (!this.#readOnly) {
        await this.#journal.run(this.#journal.closeSteps());
        this.#notes.end();
      }
    } finally {
      this.#readOnly = true;
      this.#notes.close();
      this.#store.close();
    }
  }

  /** Makes DataWriteGuid what this session's writes need, now: who records it can rely on it from here on. */
  settleContentId(): string {
    this.#mustBeWritable();
    this.#journal.beforeDataChange();
    return this.contentId;
  }

  announceMerge(parent: VhdxImage): void {
    const before = parent.contentId;
    const after = randomGuid();
    replaceLocator(this, withLinkages(this.#metadata.locator?.pairs ?? [], before, after));
    this.flushSync();
    parent.changeDataGuid(after);
  }

  /** Gives the contents a chosen identity: a merge announces it to the child before it changes the parent. */
  changeDataGuid(dataWriteGuid: string): void {
    this.#mustBeWritable();
    this.#journal.changeDataGuid(dataWriteGuid);
  }

  /**
   * Changes bytes of the metadata region, through the log and as one.
   * @param changes by offset in the region
   * @param metadata what the image says of itself from then on
   */
  changeMetadataRegion(
    changes: readonly { readonly offset: number; readonly bytes: Uint8Array }[],
    metadata: Partial<VhdxMetadata>,
  ): void {
    this.#mustBeWritable();
    const start = this.#regions.metadata.fileOffset;
    const places = changes.map(({ offset, bytes }) => ({ fileOffset: start + offset, bytes }));
    logChanges(this.#journal, this.#cache, places);
    this.#metadata = { ...this.#metadata, ...metadata };
  }

  /**
   * Makes the disk larger or smaller; durable when it returns, and at every moment before the old or the new size. What
   * a larger disk gains reads as zero, above a larger parent too; what a smaller one loses is gone, its space free.
   * @throws HvError `invalid-argument` (no size that this disk can have), `permission-denied`, `no-space`, `io`, `corrupt`
   */
  resize(sizeBytes: number): void {
    this.#mustBeWritable();
    validateSize(this.#metadata, sizeBytes);
    if (sizeBytes === this.#sizeBytes) return;
    this.#beforeChange();
    const isGrowing = sizeBytes > this.#sizeBytes;
    if (isGrowing) this.#clearBehindEnd(true);
    const hiddenUpTo = Math.min(sizeBytes, this.#parent?.sizeBytes ?? sizeBytes);
    this.#change((parts) => (isGrowing ? growTable(parts, sizeBytes, hiddenUpTo) : shrinkTable(parts, sizeBytes)));
    if (!isGrowing) this.#clearBehindEnd(false);
  }

  /** The user metadata items, in the order of the file's table. */
  get userItems(): readonly UserItem[] {
    return userItems(this.#metadata);
  }

  /** @throws HvError `not-found`, `invalid-argument` (no GUID), `io` */
  readUserItem(id: string): Uint8Array {
    return readItem(this.#store, this.#regions.metadata, findUserItem(this.name, this.#metadata, id));
  }

  /**
   * Sets a user metadata item; durable when it returns, and at every moment before the old one or the new.
   * @throws HvError `invalid-argument` (no GUID, or more than 1 MiB), `unsupported` (1,024 items are there), `no-space`, `io`
   */
  setUserItem(id: string, bytes: Uint8Array): void {
    this.#change((parts) => setUserItem(parts, id, bytes));
  }

  /** @throws HvError `not-found`, `invalid-argument` (no GUID), `io`, `no-space` */
  deleteUserItem(id: string): void {
    this.#change((parts) => deleteUserItem(parts, id));
  }

  changeVirtualDiskId(id: string): void {
    this.#change((parts) => changeVirtualDiskId(parts, id));
  }

  /** @throws HvError `invalid-argument` (neither 512 nor 4096), `io` */
  changePhysicalSectorSize(sizeBytes: number): void {
    this.#change((parts) => changePhysicalSectorSize(parts, sizeBytes));
  }

  /** A change of the file's structures that users of the disk can see, as one. */
  #change(make: (parts: ImageParts) => ChangedImage): void {
    this.#mustBeWritable();
    const changed = make(this.#parts());
    this.#table = changed.table;
    this.#regions = changed.regions;
    this.#metadata = changed.metadata;
    this.#sizeBytes = changed.metadata.virtualSizeBytes;
    this.#notes.tell((changes) => changes.resized(this.#sizeBytes));
    changed.finish();
  }

  *heldBlocks(): Generator<HeldBlock> {
    for (const { block, state } of this.#table.owners()) {
      if (block < 0) continue;
      const kind = state === PAYLOAD.full ? 'whole' : state === PAYLOAD.partial ? 'part' : 'unused';
      yield { offset: block * this.#blockSize, length: this.#bytesOf(block), kind };
    }
  }

  releaseZeroBlock(offset: number): boolean {
    this.#mustBeWritable();
    this.#cache.trim();
    this.#dropBlock(offset / this.#blockSize, PAYLOAD.zero);
    return true;
  }

  async reclaimSpace(options: LongOptions): Promise<void> {
    this.#mustBeWritable();
    await this.flush();
    await reclaimSpace(this.#parts(), options);
  }

  #parts(): ImageParts {
    return {
      store: this.#store,
      journal: this.#journal,
      cache: this.#cache,
      space: this.#space,
      table: this.#table,
      regions: this.#regions,
      metadata: this.#metadata,
      begin: () => this.#beforeChange(),
    };
  }

  /**
   * Clears what the disk's last block holds behind the disk's end: a larger disk shows it.
   * @param hidesParent whether sectors that would show a larger parent's are to hide it
   */
  #clearBehindEnd(hidesParent: boolean): void {
    const blockSize = this.#blockSize;
    const block = Math.floor(this.#sizeBytes / blockSize);
    const inBlock = this.#sizeBytes % blockSize;
    if (inBlock === 0) return;
    const start = this.#sizeBytes;
    this.#find(block);
    if (this.#state === PAYLOAD.notPresent || this.#state === PAYLOAD.partial) {
      const mayShow = this.#metadata.hasParent && (this.#parent?.sizeBytes ?? Number.POSITIVE_INFINITY) > start;
      if (this.#state === PAYLOAD.notPresent && !(mayShow && hidesParent)) return;
    } else if (this.#state !== PAYLOAD.full) {
      return;
    }
    // The file may end where the disk does; what is written there, and what a larger disk holds, needs the whole block.
    if (this.#store.size() < this.#space.endOffset) this.#store.setSize(this.#space.endOffset);
    const isFull = this.#state === PAYLOAD.full;
    for (let at = inBlock; at < blockSize; at += ZEROS.length) {
      const count = Math.min(ZEROS.length, blockSize - at);
      this.#find(block);
      if (isFull || !hidesParent) this.#store.write(this.#fileOffset + at, ZEROS, 0, count);
      else this.#writeSectors(block, start - inBlock + at, at, ZEROS, 0, count);
    }
  }

  /** Where the bytes of a range come from, in order and without gaps; neighbours of one kind and place are one. */
  segments(offset: number, length: number, depth = 0): Generator<Segment> {
    this.#mustContain(offset, length);
    const view: BlockView = {
      store: this.#store,
      blockSizeBytes: this.#blockSize,
      parent: this.#parent,
      blockAt: (block) => {
        this.#cache.trim();
        this.#find(block);
        return { state: this.#state, fileOffset: this.#fileOffset };
      },
      emptyRun: (block, count) => this.#table.emptyRun(block, count),
      bitRun: (block, at, count) => this.#bitRun(block, at, count),
    };
    return joinSegments(blockSegments(view, offset, length, depth));
  }

  /** Whether the bytes at a position of the file are only right with the replay that lies over it. */
  isOverlaid(fileOffset: number, length: number): boolean {
    return this.#overlay?.overlaps(fileOffset, length) ?? false;
  }

  /** Looks up a payload block's entry; the answer is in #state and #fileOffset, so that nothing is allocated. */
  #find(block: number): void {
    const index = this.#table.payloadIndex(block);
    const page = this.#table.pageOf(index);
    this.#state = stateIn(page, index);
    this.#fileOffset = offsetIn(page, index);
  }

  #readParent(offset: number, target: Uint8Array, targetStart: number, length: number): void {
    const parent = this.#parent;
    if (!parent) {
      if (this.#metadata.hasParent) {
        throw new HvError('invalid-state', `${this.name} was opened without its parent`, {
          detail: { path: this.name },
        });
      }
      target.fill(0, targetStart, targetStart + length);
      return;
    }
    const inParent = Math.max(0, Math.min(length, parent.sizeBytes - offset));
    if (inParent > 0) parent.read(offset, target, targetStart, inParent);
    if (inParent < length) target.fill(0, targetStart + inParent, targetStart + length);
  }

  #readPartial(
    block: number,
    offset: number,
    inBlock: number,
    target: Uint8Array,
    targetStart: number,
    length: number,
  ): void {
    const fileOffset = this.#fileOffset;
    for (let done = 0; done < length; ) {
      const run = this.#bitRun(block, offset + done, length - done);
      const count = Math.min(Math.abs(run), length - done);
      if (run > 0) this.#store.read(fileOffset + inBlock + done, target, targetStart + done, count);
      else this.#readParent(offset + done, target, targetStart + done, count);
      done += count;
    }
  }

  /** How many bytes from `offset` on are present here (positive) or in the parent (negative); looks at `length` at most. */
  #bitRun(block: number, offset: number, length: number): number {
    const bitmapOffset = this.#table.bitmapOffset(block);
    const inChunk = offset % this.#chunkBytes;
    const firstSector = Math.floor(inChunk / this.#sectorSize);
    const sectors = Math.ceil((inChunk + length) / this.#sectorSize) - firstSector;
    const run = readBitRun(this.#cache, bitmapOffset, firstSector, sectors);
    const bytes = Math.abs(run) * this.#sectorSize - (inChunk - firstSector * this.#sectorSize);
    return run > 0 ? bytes : -bytes;
  }

  /** A block that is wholly in this file from now on; what is not written of it reads as zero. */
  #writeNewBlock(block: number, inBlock: number, source: Uint8Array, sourceStart: number, length: number): void {
    this.#journal.makeRoom(1);
    const fileOffset = this.#space.allocate(this.#blockSize);
    try {
      this.#store.write(fileOffset + inBlock, source, sourceStart, length);
      this.#changeEntry(block, PAYLOAD.full, fileOffset);
    } catch (error) {
      this.#space.free(fileOffset, this.#blockSize, 0);
      throw error;
    }
  }

  /** Points a block's entry elsewhere, logs it, and gives back the space that it had. Room in the log was made before. */
  #changeEntry(block: number, state: number, fileOffset: number): void {
    const index = this.#table.payloadIndex(block);
    const page = this.#table.pageOf(index);
    const oldState = stateIn(page, index);
    const oldOffset = offsetIn(page, index);
    setEntryIn(page, index, state, fileOffset);
    let sequence: number;
    try {
      sequence = this.#journal.commit([page]);
    } catch (error) {
      setEntryIn(page, index, oldState, oldOffset);
      throw error;
    }
    if (BlockTable.ownsSpace(oldState) && oldOffset !== 0 && oldOffset !== fileOffset)
      this.#space.free(oldOffset, this.#blockSize, sequence);
    this.#emptyLogInBackground();
  }

  #dropBlock(block: number, state: number): void {
    this.#journal.makeRoom(1);
    this.#changeEntry(block, state, 0);
  }

  /** A write into a block that is not wholly in this file. */
  #writeOverParent(
    block: number,
    offset: number,
    inBlock: number,
    source: Uint8Array,
    sourceStart: number,
    length: number,
  ): void {
    const isZero = this.#state !== PAYLOAD.notPresent && this.#state !== PAYLOAD.partial;
    if (isZero || (length === this.#bytesOf(block) && this.#state === PAYLOAD.notPresent)) {
      this.#writeNewBlock(block, inBlock, source, sourceStart, length);
      return;
    }
    const sector = this.#sectorSize;
    const before = offset % sector;
    const after = (sector - ((offset + length) % sector)) % sector;
    if (before === 0 && after === 0) {
      this.#writeSectors(block, offset, inBlock, source, sourceStart, length);
      return;
    }
    // The bitmap knows whole sectors only: what surrounds the write comes along.
    const widened = new Uint8Array(before + length + after);
    this.read(offset - before, widened, 0, before);
    this.read(offset + length, widened, before + length, after);
    widened.set(source.subarray(sourceStart, sourceStart + length), before);
    this.#find(block);
    if (this.#state === PAYLOAD.full) this.#store.write(this.#fileOffset + inBlock, source, sourceStart, length);
    else this.#writeSectors(block, offset - before, inBlock - before, widened, 0, widened.length);
  }

  #writeSectors(
    block: number,
    offset: number,
    inBlock: number,
    source: Uint8Array,
    sourceStart: number,
    length: number,
  ): void {
    const firstSector = (offset % this.#chunkBytes) / this.#sectorSize;
    const sectors = length / this.#sectorSize;
    if (this.#state === PAYLOAD.notPresent) {
      this.#writePartialBlock(block, inBlock, firstSector, source, sourceStart, length);
      return;
    }
    const fileOffset = this.#fileOffset;
    const bitmapOffset = this.#table.bitmapOffset(block);
    if (readBitRun(this.#cache, bitmapOffset, firstSector, sectors) === sectors) {
      this.#store.write(fileOffset + inBlock, source, sourceStart, length);
      return;
    }
    this.#journal.makeRoom(countBitPages(firstSector, sectors) + 1);
    this.#store.write(fileOffset + inBlock, source, sourceStart, length);
    const change = setBits(this.#cache, bitmapOffset, firstSector, sectors);
    try {
      this.#journal.commit(change.pages);
    } catch (error) {
      change.undo();
      throw error;
    }
    this.#emptyLogInBackground();
  }

  /** The first sectors of a block that is the parent's so far: space for it, space for its bitmap where there is none. */
  #writePartialBlock(
    block: number,
    inBlock: number,
    firstSector: number,
    source: Uint8Array,
    sourceStart: number,
    length: number,
  ): void {
    const blockSectors = this.#blockSize / this.#sectorSize;
    const blockFirstSector = firstSector - inBlock / this.#sectorSize;
    this.#journal.makeRoom(countBitPages(blockFirstSector, blockSectors) + 2);
    const payloadIndex = this.#table.payloadIndex(block);
    const bitmapIndex = this.#table.bitmapIndex(block);
    const hasBitmap = stateIn(this.#table.pageOf(bitmapIndex), bitmapIndex) === BITMAP.present;
    let bitmapOffset = hasBitmap ? offsetIn(this.#table.pageOf(bitmapIndex), bitmapIndex) : 0;
    const undo: (() => void)[] = [];
    try {
      const fileOffset = this.#space.allocate(this.#blockSize);
      undo.push(() => this.#space.free(fileOffset, this.#blockSize, 0));
      if (!hasBitmap) {
        bitmapOffset = this.#space.allocate(BITMAP_BLOCK_BYTES);
        undo.push(() => this.#space.free(bitmapOffset, BITMAP_BLOCK_BYTES, 0));
      }
      this.#store.write(fileOffset + inBlock, source, sourceStart, length);
      const pages = new Set<MetadataPage>();
      // Bits of the block's earlier lives must not come back.
      if (hasBitmap) {
        const cleared = clearBits(this.#cache, bitmapOffset, blockFirstSector, blockSectors);
        undo.push(cleared.undo);
        for (const page of cleared.pages) pages.add(page);
      }
      const set = setBits(this.#cache, bitmapOffset, firstSector, length / this.#sectorSize);
      undo.push(set.undo);
      for (const page of set.pages) pages.add(page);
      this.#setEntry(payloadIndex, PAYLOAD.partial, fileOffset, pages, undo);
      if (!hasBitmap) this.#setEntry(bitmapIndex, BITMAP.present, bitmapOffset, pages, undo);
      this.#journal.commit([...pages]);
    } catch (error) {
      for (const step of undo.reverse()) step();
      throw error;
    }
    this.#emptyLogInBackground();
  }

  #setEntry(index: number, state: number, fileOffset: number, pages: Set<MetadataPage>, undo: (() => void)[]): void {
    const page = this.#table.pageOf(index);
    const oldState = stateIn(page, index);
    const oldOffset = offsetIn(page, index);
    setEntryIn(page, index, state, fileOffset);
    undo.push(() => setEntryIn(page, index, oldState, oldOffset));
    pages.add(page);
  }

  #forEachBlock(
    offset: number,
    length: number,
    visit: (block: number, at: number, count: number, isWhole: boolean) => void,
  ): void {
    const end = offset + length;
    for (let at = offset; at < end; ) {
      const block = Math.floor(at / this.#blockSize);
      const inBlock = at - block * this.#blockSize;
      const count = Math.min(end - at, this.#blockSize - inBlock);
      this.#cache.trim();
      this.#find(block);
      visit(block, at, count, inBlock === 0 && count === this.#bytesOf(block));
      at += count;
    }
  }

  /** The bytes of the disk that a block holds: the last one may be shorter. */
  #bytesOf(block: number): number {
    return Math.min(this.#blockSize, this.#sizeBytes - block * this.#blockSize);
  }

  #emptyLogInBackground(): void {
    if (!this.#backgroundFlush || this.#flushing || this.#journal.logFullness < LOG_BUSY) return;
    // A failure is not lost: the store remembers it, and the next flush that somebody waits for reports it.
    this.flush().catch(() => undefined);
  }

  #beforeChange(): void {
    this.#mustBeWritable();
    this.#journal.beforeDataChange();
  }

  #mustBeWritable(): void {
    if (this.#readOnly) {
      throw new HvError('permission-denied', `${this.name} is open for reading only`, { detail: { path: this.name } });
    }
  }

  #mustContain(offset: number, length: number): void {
    if (offset >= 0 && length >= 0 && offset + length <= this.#sizeBytes) return;
    throw new HvError('invalid-argument', `the range is outside of the disk ${this.name}`, {
      detail: { path: this.name, offset, length, sizeBytes: this.sizeBytes },
    });
  }
}
