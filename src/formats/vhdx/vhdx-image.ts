import type { LongOptions } from '../../async/index.ts';
import { randomGuid, ZERO_GUID } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import type { ChangeObserver, ImageState } from '../change-observer.ts';
import type { DiskImage, DiskType, HeldBlock, ParentDisk, Segment } from '../disk-image.ts';
import { BlockReader } from './block-reader.ts';
import { BlockTable } from './block-table.ts';
import { BlockWriter } from './block-writer.ts';
import { ChangeNotes } from './change-notes.ts';
import { PAYLOAD, type VhdxHeader } from './format.ts';
import { readCurrentHeader } from './header.ts';
import { replaceLocator } from './inspect.ts';
import { HeaderPair, Journal } from './journal.ts';
import { type ParentLocator, withLinkages } from './locator.ts';
import { replayLog } from './log-reader.ts';
import { logChanges } from './logged-change.ts';
import { readItem, readMetadata, type VhdxMetadata } from './metadata.ts';
import { MetadataCache } from './metadata-cache.ts';
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
import { SpaceAllocator } from './space.ts';

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
  readonly #blocks: BlockReader;
  readonly #writer: BlockWriter;
  readonly #space: SpaceAllocator;
  readonly #journal: Journal;
  readonly #backgroundFlush: boolean;
  #readOnly: boolean;
  #isOpen = true;
  readonly #notes: ChangeNotes;
  #flushing: Promise<void> | undefined;
  #nextFlush: Promise<void> | undefined;

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
    this.#backgroundFlush = options.backgroundFlush ?? true;

    const { occupancy, structuresEnd } = occupyStructures(headers.header, this.#regions.all);
    this.#cache = new MetadataCache(store);
    const table = new BlockTable(store.name, this.#cache, occupancy, this.#regions.bat, this.#metadata, {
      sizeBytes: store.size(),
      structuresEnd,
    });
    this.#space = new SpaceAllocator(store, occupancy, table.endOffset);
    if (!this.#readOnly && table.isFullyChecked && !this.#metadata.leaveBlockAllocated) this.#space.adoptGaps();
    this.#journal = new Journal(store, headers, this.#cache, this.#space, {
      hostRun: options.hostRun,
      payloadFirst: this.#metadata.hasParent,
    });
    this.#notes = new ChangeNotes(this.#journal, this);
    const parts = { store, cache: this.#cache, metadata: this.#metadata };
    this.#blocks = new BlockReader({ ...parts, table });
    this.#writer = new BlockWriter(this.#blocks, {
      ...parts,
      space: this.#space,
      journal: this.#journal,
      notes: this.#notes,
      logged: () => this.#emptyLogInBackground(),
    });
    if (options.changes) this.observeChanges(options.changes);
  }

  get metadata(): VhdxMetadata {
    return this.#metadata;
  }

  /** As it is now: resize() changes it. */
  get sizeBytes(): number {
    return this.#blocks.sizeBytes;
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
    return this.#metadata.blockSizeBytes;
  }

  get logicalSectorSizeBytes(): number {
    return this.#metadata.logicalSectorSizeBytes;
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
    this.#notes.before(0, this.sizeBytes);
  }

  /** Lets go of the observer, which stays the caller's. What changes from here on, it is not told. */
  stopObserving(): void {
    this.#notes.stop();
  }

  setParent(parent: ParentDisk): void {
    this.#blocks.setParent(parent);
  }

  /** @throws HvError `invalid-argument` (out of range), `io`, `corrupt` */
  read(offset: number, target: Uint8Array, targetStart: number, length: number): void {
    this.#blocks.read(offset, target, targetStart, length);
  }

  /** @throws HvError `permission-denied`, `invalid-argument`, `io`, `no-space`, `corrupt` */
  write(offset: number, source: Uint8Array, sourceStart: number, length: number): void {
    this.#blocks.mustContain(offset, length);
    this.#mustBeWritable();
    this.#writer.write(offset, source, sourceStart, length);
  }

  /** The range reads as zero afterwards. Whole blocks lose their space when `mayUnmap` says so and the disk is not fixed. */
  writeZeroes(offset: number, length: number, mayUnmap: boolean): void {
    this.#blocks.mustContain(offset, length);
    this.#mustBeWritable();
    this.#writer.writeZeroes(offset, length, mayUnmap);
  }

  /** Whole blocks become unmapped and read as zero; parts of blocks stay as they are. A fixed disk ignores it. */
  trim(offset: number, length: number): void {
    this.#blocks.mustContain(offset, length);
    this.#mustBeWritable();
    this.#writer.trim(offset, length);
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
    if (sizeBytes === this.sizeBytes) return;
    this.#beforeChange();
    const isGrowing = sizeBytes > this.sizeBytes;
    if (isGrowing) this.#writer.clearBehindEnd(true);
    const hiddenUpTo = Math.min(sizeBytes, this.#blocks.parent?.sizeBytes ?? sizeBytes);
    this.#change((parts) => (isGrowing ? growTable(parts, sizeBytes, hiddenUpTo) : shrinkTable(parts, sizeBytes)));
    if (!isGrowing) this.#writer.clearBehindEnd(false);
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
    this.#regions = changed.regions;
    this.#metadata = changed.metadata;
    this.#blocks.resized(changed.table, changed.metadata.virtualSizeBytes);
    this.#notes.tell((changes) => changes.resized(this.sizeBytes));
    changed.finish();
  }

  *heldBlocks(): Generator<HeldBlock> {
    for (const { block, state } of this.#blocks.table.owners()) {
      if (block < 0) continue;
      const kind = state === PAYLOAD.full ? 'whole' : state === PAYLOAD.partial ? 'part' : 'unused';
      yield { offset: block * this.blockSizeBytes, length: this.#blocks.bytesOf(block), kind };
    }
  }

  releaseZeroBlock(offset: number): boolean {
    this.#mustBeWritable();
    this.#cache.trim();
    this.#writer.dropBlock(offset / this.blockSizeBytes, PAYLOAD.zero);
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
      table: this.#blocks.table,
      regions: this.#regions,
      metadata: this.#metadata,
      begin: () => this.#beforeChange(),
    };
  }

  /** Where the bytes of a range come from, in order and without gaps; neighbours of one kind and place are one. */
  segments(offset: number, length: number, depth = 0): Generator<Segment> {
    return this.#blocks.segments(offset, length, depth);
  }

  /** Whether the bytes at a position of the file are only right with the replay that lies over it. */
  isOverlaid(fileOffset: number, length: number): boolean {
    return this.#overlay?.overlaps(fileOffset, length) ?? false;
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
}
