import { randomGuid, ZERO_GUID } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import type { ChangeObserver, HeaderState, ImageState } from '../change-observer.ts';
import { formatChangeTrackingId, parseChangeTrackingId } from './change-tracking-id.ts';
import {
  MAX_REFERENCES,
  MAX_SEQUENCE,
  type RctHeader,
  REGION_MAP_BYTES,
  REGION_MAP_OFFSET,
  type ReferencePoint,
  UNIT_MAP_OFFSET,
} from './format.ts';
import { fits, type Geometry, geometryFor, mapEnd, regionCount, unitCount } from './geometry.ts';
import { HeaderCopies } from './header.ts';
import { RegionMap } from './region-map.ts';
import { UnitMap } from './unit-map.ts';

/** In a long session the unit map is written down this often, so that a crash leaves little in doubt. */
const WRITE_DOWN_EVERY_MS = 60_000;

/** What is known of a disk's changes. */
export interface ChangeTrackingState {
  /** Whether anything changed since the most recent reference point. */
  readonly newerChanges: boolean;
  /** The id of the most recent reference point; null when other software wrote to the disk since. */
  readonly mostRecentId: string | null;
}

export interface ChangedRange {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export interface ChangedRanges {
  /** Ascending, apart from each other. */
  readonly ranges: readonly ChangedRange[];
  /** How far the answer reaches from the offset that was asked for: less than asked where there were too many ranges. */
  readonly processedLengthBytes: number;
}

/** A file that was merged into the one below it. */
export interface MergedFile {
  /** What was noted of it; undefined where it was not tracked. */
  readonly tracker: ChangeTracker | undefined;
  /** What of the merged disk came from it. */
  readonly held: Iterable<ChangedRange>;
}

export interface TrackerOptions {
  /** Milliseconds of a clock that does not go back. */
  readonly now?: () => number;
}

/**
 * The changed blocks of one disk file, kept in a file beside it.
 *
 *     beforeChange -> region bit durable (once, ahead) -> sequence number in memory -> the change itself
 *     end, reference point, now and then -> unit map written, flushed -> region bits cleared
 *
 * Never misses a change: whatever is not in the unit map on paper lies in a marked region. Owns its store.
 */
export class ChangeTracker implements ChangeObserver {
  readonly #store: ByteStore;
  readonly #headers: HeaderCopies;
  readonly #now: () => number;
  /** Reference points of this opening share it. */
  readonly #branch = randomGuid();
  #units: UnitMap | undefined;
  #regions: RegionMap | undefined;
  /** Whether the disk is the one that the file was written for. Unknown until opened(). */
  #isBound = false;
  /** The disk has, or will have with its next change, the FileWriteGuid that is noted. */
  #hasChosen = false;
  #hasEnded = false;
  #isOpen = true;
  /** Where the disk's size is not the one that the file holds. */
  #resized: Geometry | undefined;
  #changedHighest = 0;
  #lastWriteDown: number;

  private constructor(store: ByteStore, headers: HeaderCopies, options: TrackerOptions) {
    this.#store = store;
    this.#headers = headers;
    this.#now = options.now ?? ((): number => performance.now());
    this.#lastWriteDown = this.#now();
  }

  /**
   * Fills an empty store for a disk whose changes are to be tracked from here on; durable when it returns. It begins
   * with a reference point.
   * @param hasChanged the image that is open took its FileWriteGuid already and will not take another in this session
   */
  static create(
    store: ByteStore,
    state: ImageState,
    options: TrackerOptions & { readonly hasChanged?: boolean } = {},
  ): ChangeTracker {
    const geometry = geometryFor(state.sizeBytes);
    store.setSize(mapEnd(geometry));
    // Real zeros: a marking must not have to find space, nor wait for the file system's own journal.
    store.write(0, new Uint8Array(UNIT_MAP_OFFSET), 0, UNIT_MAP_OFFSET);
    const headers = HeaderCopies.create(store, {
      ...freshHeader(state, options.hasChanged === true, 0),
      generation: 1n,
    });
    const tracker = new ChangeTracker(store, headers, options);
    tracker.#isBound = true;
    tracker.#hasChosen = options.hasChanged === true;
    tracker.takeReferencePoint();
    return tracker;
  }

  /** Opens a file; opened() binds it to its disk. On failure the store stays the caller's. @throws HvError `corrupt`, `io` */
  static open(store: ByteStore, options: TrackerOptions = {}): ChangeTracker {
    return new ChangeTracker(store, HeaderCopies.read(store), options);
  }

  get name(): string {
    return this.#store.name;
  }

  get readOnly(): boolean {
    return this.#store.readOnly;
  }

  get store(): ByteStore {
    return this.#store;
  }

  /** Whether a write by other software once made tracking begin anew here. */
  get wasRestarted(): boolean {
    return this.#headers.header.restartedTimeMs > 0;
  }

  /** Whether nobody but hv has written to the disk since tracking began. */
  get isBound(): boolean {
    return this.#isBound;
  }

  // What the image says

  opened(state: ImageState): void {
    this.#isBound = this.#fits(state);
    if (!this.#isBound) {
      if (!this.#store.readOnly) this.#restart(state);
      return;
    }
    this.resized(state.sizeBytes);
  }

  chooseFileWriteGuid(current: HeaderState): string {
    const next = randomGuid();
    this.#hasChosen = true;
    // A disk that is another's already must not look as if it were ours.
    if (!this.#fits(current)) return next;
    this.#headers.write({ fileWriteGuid: current.fileWriteGuid, nextFileWriteGuid: next });
    this.#store.flushSync();
    return next;
  }

  beforeChange(offset: number, length: number): void {
    if (length <= 0) return;
    const { unitBytes, activeSequence } = this.#headers.header;
    const units = this.#loadedUnits();
    const { sequences } = units;
    const last = Math.floor((offset + length - 1) / unitBytes);
    for (let unit = Math.floor(offset / unitBytes); unit <= last; unit++) {
      // Whatever has the active number is on paper already: here, or by its region.
      if (sequences[unit] === activeSequence) continue;
      this.#markRegions(unit * unitBytes, (last + 1) * unitBytes);
      for (; unit <= last; unit++) if (sequences[unit] !== activeSequence) units.set(unit, activeSequence);
      this.#changedHighest = activeSequence;
    }
  }

  /** Everything counts as changed from here on. */
  markAll(): void {
    this.beforeChange(0, this.#geometry().sizeBytes);
  }

  resized(sizeBytes: number): void {
    const { header } = this.#headers;
    if (sizeBytes === this.#geometry().sizeBytes) return;
    if (!fits(header, sizeBytes)) {
      throw new HvError('unsupported', `${this.name} cannot follow the disk to its new size`, {
        detail: { path: this.name, sizeBytes },
      });
    }
    const units = this.#loadedUnits();
    const geometry = { ...this.#geometry(), sizeBytes };
    units.resize(geometry, header.activeSequence);
    this.#resized = geometry;
    this.#changedHighest = header.activeSequence;
    if (this.#store.readOnly) return;
    const needed = mapEnd(geometry);
    if (this.#store.size() < needed) this.#store.setSize(needed);
    units.write();
    this.#store.flushSync();
    this.#headers.write({ sizeBytes, lastChangeSequence: header.activeSequence });
    this.#store.flushSync();
  }

  flushed(): void {
    if (this.#regionsOf().isEmpty || this.#now() - this.#lastWriteDown < WRITE_DOWN_EVERY_MS) return;
    this.#writeDown();
  }

  ended(state: ImageState): void {
    if (this.#hasEnded || this.#store.readOnly) return;
    this.#hasEnded = true;
    this.#writeDown();
    if (!this.#hasChosen && this.#headers.header.lastChangeSequence === this.#highest()) return;
    this.#headers.write({
      fileWriteGuid: state.fileWriteGuid,
      nextFileWriteGuid: ZERO_GUID,
      diskHeaderSequence: state.headerSequence,
      lastChangeSequence: this.#highest(),
    });
    this.#store.flushSync();
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#store.close();
  }

  /**
   * Takes over what was noted of the files above this one, which have been merged into it, with their reference points:
   * what is asked for since one of those is answered here as it was there. Their sequence numbers follow on this file's
   * own, so that all that they hold counts as changed since the points of the files below them. May be done again when
   * the merge was: a point that is here already gets its new number. Durable when it returns; until then, and when it
   * fails, this file knows its own points only.
   * @param merged the lowest first
   * @throws HvError `invalid-state` (tracking was broken), `unsupported` (no numbers left), `io`, `no-space`
   */
  absorb(merged: readonly MergedFile[]): void {
    this.mustBeBound();
    let { activeSequence: base, references } = this.#headers.header;
    for (const { tracker, held } of merged) {
      for (const { offsetBytes, lengthBytes } of held) this.#raise(offsetBytes, lengthBytes, base);
      if (!tracker?.isBound) continue;
      const { header } = tracker.#headers;
      if (base + header.activeSequence > MAX_SEQUENCE) throw this.#outOfNumbers();
      for (const { offsetBytes, lengthBytes, sequence } of tracker.#changedRuns()) {
        this.#raise(offsetBytes, lengthBytes, base + sequence);
      }
      const names = new Set(header.references.map(formatChangeTrackingId));
      const shifted = header.references.map((point) => ({ ...point, sequence: base + point.sequence }));
      references = [...references.filter((point) => !names.has(formatChangeTrackingId(point))), ...shifted];
      base += header.activeSequence;
    }
    // The numbers first: a point whose changes are not on paper would miss them.
    this.#writeDown();
    this.#headers.write({
      activeSequence: base,
      lastChangeSequence: this.#highest(),
      references: references.slice(-MAX_REFERENCES),
    });
    this.#store.flushSync();
  }

  // What is asked

  state(): ChangeTrackingState {
    const newest = this.#headers.header.references.at(-1);
    if (!this.#isBound || !newest) return { newerChanges: true, mostRecentId: null };
    const isInDoubt = !this.#units && !this.#regionsOf().isEmpty;
    const newerChanges = isInDoubt || this.#highest() > newest.sequence;
    return { newerChanges, mostRecentId: formatChangeTrackingId(newest) };
  }

  /** Whether the id was made here; what it says is known then. */
  knows(changeTrackingId: string): boolean {
    return this.#find(changeTrackingId) !== undefined;
  }

  /**
   * Names this moment: what changes from here on is what is asked for later. Durable when it returns.
   * @throws HvError `invalid-state` (tracking was broken, see mustBeBound), `io`, `no-space`
   */
  takeReferencePoint(): string {
    this.mustBeBound();
    const { header } = this.#headers;
    if (header.activeSequence >= MAX_SEQUENCE) throw this.#outOfNumbers();
    this.#writeDown();
    const sequence = header.activeSequence;
    const reference: ReferencePoint = { branch: this.#branch, counter: sequence, sequence, timeMs: Date.now() };
    this.#headers.write({
      activeSequence: sequence + 1,
      lastChangeSequence: this.#highest(),
      references: [...header.references, reference].slice(-MAX_REFERENCES),
    });
    this.#store.flushSync();
    return formatChangeTrackingId(reference);
  }

  /**
   * What may have changed since a reference point, within a part of the disk.
   * @param maxRanges where the answer is cut short; its processedLengthBytes says so
   * @throws HvError `invalid-argument`, `invalid-state` (tracking was broken), `not-found` (an id that was not made here)
   */
  query(sinceId: string, offsetBytes: number, lengthBytes: number, maxRanges: number): ChangedRanges {
    this.mustBeBound();
    const since = this.#find(sinceId);
    if (!since) throw this.unknownId(sinceId);
    const { unitBytes, sizeBytes } = this.#geometry();
    const end = Math.min(sizeBytes, offsetBytes + lengthBytes);
    const { sequences } = this.#loadedUnits();
    const ranges: ChangedRange[] = [];
    const lastUnit = Math.ceil(end / unitBytes);
    for (let unit = Math.floor(offsetBytes / unitBytes); unit < lastUnit; unit++) {
      if ((sequences[unit] as number) <= since.sequence) continue; // in range
      if (ranges.length === maxRanges) {
        return { ranges, processedLengthBytes: Math.max(0, unit * unitBytes - offsetBytes) };
      }
      let behind = unit + 1;
      while (behind < lastUnit && (sequences[behind] as number) > since.sequence) behind++;
      const from = Math.max(offsetBytes, unit * unitBytes);
      ranges.push({ offsetBytes: from, lengthBytes: Math.min(end, behind * unitBytes) - from });
      unit = behind;
    }
    return { ranges, processedLengthBytes: Math.max(0, end - offsetBytes) };
  }

  /** @throws HvError `invalid-state` with detail.reason `tracking-broken` */
  mustBeBound(): void {
    if (!this.#isBound) throw this.#broken();
  }

  /** The failure for an id that is not known: made before other software wrote to the disk, or never made here. */
  unknownId(changeTrackingId: string): HvError {
    if (this.wasRestarted) return this.#broken(changeTrackingId);
    return new HvError('not-found', `the change tracking id ${changeTrackingId} is not known to ${this.name}`, {
      detail: { path: this.name, reason: 'unknown-id', changeTrackingId },
      hint: 'Take a full backup; it has an id of its own.',
    });
  }

  #broken(changeTrackingId?: string): HvError {
    const diskPath = this.name.replace(/\.rct$/, '');
    return new HvError(
      'invalid-state',
      `software without change tracking wrote to ${diskPath}: what changed before that is not known any more`,
      {
        detail: {
          path: this.name,
          reason: 'tracking-broken',
          ...(changeTrackingId === undefined ? {} : { changeTrackingId }),
        },
        hint: 'Take a full backup; tracking begins anew with it.',
      },
    );
  }

  #outOfNumbers(): HvError {
    return new HvError('unsupported', `${this.name} has no numbers left for another reference point`, {
      detail: { path: this.name },
      hint: 'Switch change tracking off and on again.',
    });
  }

  #find(changeTrackingId: string): ReferencePoint | undefined {
    const { branch, counter } = parseChangeTrackingId(changeTrackingId);
    return this.#headers.header.references.find((point) => point.branch === branch && point.counter === counter);
  }

  /** Other software wrote to the disk: everything that is known of it is void. Tracking begins anew, without old ids. */
  #restart(state: ImageState): void {
    // First of all the file fits no disk: whatever interrupts this, the next opening does it again.
    this.#headers.write({ fileWriteGuid: ZERO_GUID, nextFileWriteGuid: ZERO_GUID, references: [] });
    this.#store.flushSync();
    const header = freshHeader(state, this.#hasChosen, Date.now());
    // At every moment the file is as long as the header that counts says.
    const end = mapEnd(header);
    const oldEnd = this.#store.size();
    this.#store.punchHole(UNIT_MAP_OFFSET, oldEnd - UNIT_MAP_OFFSET);
    if (oldEnd < end) this.#store.setSize(end);
    this.#store.write(REGION_MAP_OFFSET, new Uint8Array(REGION_MAP_BYTES), 0, REGION_MAP_BYTES);
    this.#store.flushSync();
    this.#units = undefined;
    this.#regions = undefined;
    this.#changedHighest = 0;
    this.#headers.write(header);
    this.#store.flushSync();
    if (oldEnd > end) this.#store.setSize(end);
    this.#isBound = true;
    this.takeReferencePoint();
  }

  /** Puts on paper what only memory and the region map know. Without changes it costs nothing. */
  #writeDown(): void {
    this.#lastWriteDown = this.#now();
    const regions = this.#regionsOf();
    if (this.#store.readOnly || (regions.isEmpty && !this.#units?.hasUnwritten)) return;
    this.#loadedUnits().write();
    this.#store.flushSync();
    regions.clear();
  }

  /** A range has changed at this number, or later. */
  #raise(offset: number, length: number, sequence: number): void {
    const { unitBytes, sizeBytes } = this.#geometry();
    const units = this.#loadedUnits();
    const behind = Math.ceil(Math.min(offset + length, sizeBytes) / unitBytes);
    for (let unit = Math.floor(offset / unitBytes); unit < behind; unit++) {
      if ((units.sequences[unit] as number) < sequence) units.set(unit, sequence); // in range
    }
    this.#changedHighest = Math.max(this.#changedHighest, sequence);
  }

  /** What has ever changed, in runs of one number. */
  *#changedRuns(): Generator<ChangedRange & { readonly sequence: number }> {
    const geometry = this.#geometry();
    const { sequences } = this.#loadedUnits();
    const end = unitCount(geometry);
    for (let unit = 0; unit < end; ) {
      const sequence = sequences[unit] as number; // in range
      const first = unit;
      while (unit < end && sequences[unit] === sequence) unit++;
      if (sequence === 0) continue;
      const { unitBytes } = geometry;
      yield { offsetBytes: first * unitBytes, lengthBytes: (unit - first) * unitBytes, sequence };
    }
  }

  #markRegions(offset: number, end: number): void {
    const { regionBytes } = this.#headers.header;
    const regions = this.#regionsOf();
    let first = Math.floor(offset / regionBytes);
    let last = Math.floor((end - 1) / regionBytes);
    while (first <= last && regions.has(first)) first++;
    while (last >= first && regions.has(last)) last--;
    if (first <= last) regions.mark(first, last);
  }

  /** Of a file that was not left in order, its header does not tell. */
  #highest(): number {
    if (!this.#units && this.#headers.header.nextFileWriteGuid !== ZERO_GUID) this.#loadedUnits();
    return Math.max(this.#changedHighest, this.#headers.header.lastChangeSequence);
  }

  #fits({ fileWriteGuid, headerSequence }: HeaderState): boolean {
    const { header } = this.#headers;
    if (header.nextFileWriteGuid === ZERO_GUID) {
      return fileWriteGuid === header.fileWriteGuid && headerSequence === header.diskHeaderSequence;
    }
    return fileWriteGuid === header.fileWriteGuid || fileWriteGuid === header.nextFileWriteGuid;
  }

  #geometry(): Geometry {
    return this.#resized ?? this.#headers.header;
  }

  #regionsOf(): RegionMap {
    this.#regions ??= RegionMap.load(this.#store, this.#headers.header.regionBytes, this.#now);
    return this.#regions;
  }

  /** Loaded at the first need. Regions that a crash left marked count as changed now. */
  #loadedUnits(): UnitMap {
    if (this.#units) return this.#units;
    const { header } = this.#headers;
    const units = UnitMap.load(this.#store, header, header.activeSequence);
    const regions = this.#regionsOf();
    if (!regions.isEmpty) {
      const unitsPerRegion = header.regionBytes / header.unitBytes;
      const count = regionCount(header);
      const end = unitCount(header);
      for (let region = 0; region < count; region++) {
        if (!regions.has(region)) continue;
        const from = region * unitsPerRegion;
        units.setRange(from, Math.min(end, from + unitsPerRegion), header.activeSequence);
      }
    }
    const isInOrder = header.nextFileWriteGuid === ZERO_GUID && !units.hasUnwritten;
    this.#changedHighest = Math.max(this.#changedHighest, isInOrder ? 0 : units.highest());
    this.#units = units;
    return units;
  }
}

function freshHeader(state: ImageState, hasChanged: boolean, restartedTimeMs: number): Omit<RctHeader, 'generation'> {
  return {
    fileWriteGuid: state.fileWriteGuid,
    // Names no other: the session that runs ends with this FileWriteGuid, but with a later header.
    nextFileWriteGuid: hasChanged ? state.fileWriteGuid : ZERO_GUID,
    diskHeaderSequence: state.headerSequence,
    ...geometryFor(state.sizeBytes),
    activeSequence: 1,
    lastChangeSequence: 0,
    restartedTimeMs,
    references: [],
  };
}
