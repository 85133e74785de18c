import { randomGuid, roundDown, roundUp, ZERO_GUID } from '../../binary/index.ts';
import { invariant } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import type { ChangeObserver } from '../change-observer.ts';
import { corrupt } from './corruption.ts';
import { HEADER_BYTES, HEADER_OFFSETS, MIB, type VhdxHeader } from './format.ts';
import { type CurrentHeader, encodeHeader } from './header.ts';
import { replayLog } from './log-reader.ts';
import { type FileSizes, LogWriter } from './log-writer.ts';
import type { MetadataCache, MetadataPage } from './metadata-cache.ts';
import { FileReplayTarget } from './replay-targets.ts';
import type { SpaceAllocator } from './space.ts';

const MAX_SEQUENCE = 2n ** 64n - 16n;

/** A piece of work that says when it needs a flush: driven with flush() or, where nothing may come between, flushSync(). */
export type FlushSteps = Generator<void, void, void>;

/** The two headers of an open file and their update (2.2.2.1): the stale copy is written and flushed, then the other. */
export class HeaderPair {
  readonly #store: ByteStore;
  #current: CurrentHeader;
  #hasNewFileGuid = false;
  /** Who chooses the session's FileWriteGuid, where somebody does. */
  observer: Pick<ChangeObserver, 'chooseFileWriteGuid'> | undefined;

  constructor(store: ByteStore, current: CurrentHeader) {
    this.#store = store;
    this.#current = current;
  }

  /** Whether the header was written in this session: then FileWriteGuid stays as it is. */
  get hasNewFileGuid(): boolean {
    return this.#hasNewFileGuid;
  }

  get header(): VhdxHeader {
    return this.#current.header;
  }

  /** The first update of a session changes FileWriteGuid. */
  *update(change: Partial<VhdxHeader>): FlushSteps {
    for (const _copy of HEADER_OFFSETS) {
      this.writeStale(change);
      yield;
    }
  }

  /** Writes the stale copy, which is current from then on; a flush must follow. */
  writeStale(change: Partial<VhdxHeader>): void {
    const { header, copy } = this.#current;
    if (header.sequenceNumber > MAX_SEQUENCE) {
      throw corrupt(this.#store.name, 'header-sequence', HEADER_OFFSETS[copy], header.sequenceNumber);
    }
    const next: VhdxHeader = {
      ...header,
      ...(this.#hasNewFileGuid ? {} : { fileWriteGuid: this.#newFileGuid(header) }),
      ...change,
      sequenceNumber: header.sequenceNumber + 1n,
    };
    const stale = copy === 0 ? 1 : 0;
    this.#store.write(HEADER_OFFSETS[stale], encodeHeader(next), 0, HEADER_BYTES);
    this.#current = { header: next, copy: stale };
    this.#hasNewFileGuid = true;
  }

  #newFileGuid({ fileWriteGuid, sequenceNumber }: VhdxHeader): string {
    try {
      return this.observer?.chooseFileWriteGuid({ fileWriteGuid, headerSequence: sequenceNumber }) ?? randomGuid();
    } catch {
      return randomGuid(); // Which fits nothing that was noted.
    }
  }

  /** Replays a log in use into the file and marks it empty. @throws HvError `corrupt` */
  *replay(hostRun: string | undefined): FlushSteps {
    if (this.header.logGuid === ZERO_GUID) return;
    yield* this.update({});
    replayLog(this.#store, this.header, new FileReplayTarget(this.#store), { inMemory: false, hostRun });
    yield;
    yield* this.update({ logGuid: ZERO_GUID });
  }
}

/**
 * A session of writing: headers, log, and the order of what becomes durable.
 *
 *     change in memory -> log entry (in the file before the write is acknowledged)
 *       -> flush: the entry is durable -> its pages are written in place
 *       -> next flush: they are durable there -> the next entry's tail leaves the old entries behind
 *       -> once that entry is durable, their space in the ring is free
 *
 * Several FlushSteps may be under way at once: each only reports facts that stay true.
 */
export class Journal {
  readonly #store: ByteStore;
  readonly #headers: HeaderPair;
  readonly #cache: MetadataCache;
  readonly #space: SpaceAllocator;
  readonly #hostRun: string | undefined;
  /** Whether a lost payload would show something older than what it replaced: true above a parent (see LogWriter). */
  readonly #payloadFirst: boolean;
  #log: LogWriter | undefined;
  #hasNewDataGuid = false;
  #flushedSizeBytes = 0;
  /** How often the file was cut: a length that was seen before a cut says nothing after it. */
  #cuts = 0;

  constructor(
    store: ByteStore,
    headers: HeaderPair,
    cache: MetadataCache,
    space: SpaceAllocator,
    options: { readonly hostRun: string | undefined; readonly payloadFirst: boolean },
  ) {
    this.#store = store;
    this.#headers = headers;
    this.#cache = cache;
    this.#space = space;
    this.#hostRun = options.hostRun;
    this.#payloadFirst = options.payloadFirst;
  }

  get header(): VhdxHeader {
    return this.#headers.header;
  }

  /** Whether FileWriteGuid has changed in this session, which it does once. */
  get hasNewFileGuid(): boolean {
    return this.#headers.hasNewFileGuid;
  }

  observeHeader(observer: ChangeObserver | undefined): void {
    this.#headers.observer = observer;
  }

  /** Takes another FileWriteGuid, so that whoever knows the present one takes the file for another's. */
  renewFileGuid(): void {
    this.#store.flushSync(); // an update of the headers may be under way
    this.runNow(this.#headers.update({ fileWriteGuid: randomGuid() }));
  }

  /** The share of the log that cannot be written yet. */
  get logFullness(): number {
    return this.#log?.fullness ?? 0;
  }

  /** To be called before anything changes that a user of the disk can see. Flushes, once a session. */
  beforeDataChange(): void {
    if (this.#hasNewDataGuid) return;
    this.runNow(this.#headers.update({ dataWriteGuid: randomGuid() }));
    this.#hasNewDataGuid = true;
  }

  /** Changes DataWriteGuid to a given value, whether or not it has changed in this session. */
  changeDataGuid(dataWriteGuid: string): void {
    this.runNow(this.#headers.update({ dataWriteGuid }));
    this.#hasNewDataGuid = true;
  }

  /** To be called before pages are changed in memory: afterwards commit() of so many pages has room in the log. */
  makeRoom(pageCount: number): void {
    if (!this.#log) this.#openLog();
    if (this.#log?.fits(pageCount)) return;
    this.runNow(this.#emptyLog());
    invariant(this.#log?.fits(pageCount), 'an empty log has room for any entry');
  }

  /**
   * Logs pages that were changed in memory. When it throws, the caller undoes its changes.
   * @returns the number of the entry
   */
  commit(pages: readonly MetadataPage[]): number {
    const log = this.#log;
    invariant(log, 'the log is open before anything is logged');
    const sequence = log.append(pages, this.#sizes(), this.#payloadFirst);
    for (const page of pages) this.#cache.markLogged(page, sequence);
    return sequence;
  }

  /** What a flush does: afterwards everything that was written before is durable. */
  *flushSteps(): FlushSteps {
    const log = this.#log;
    const sequence = log?.lastSequence ?? 0;
    const needed = this.#cache.oldestNeeded() ?? sequence + 1;
    const punched = this.#space.takePunched();
    const sizeBytes = this.#store.size();
    const cuts = this.#cuts;
    yield;
    if (log?.promote(sequence)) yield;
    if (cuts === this.#cuts) this.#flushedSizeBytes = Math.max(this.#flushedSizeBytes, sizeBytes);
    this.#space.makeAvailable(punched);
    if (!log || log !== this.#log) return;
    log.noteDurable(sequence);
    log.noteApplied(needed);
    this.#cache.applyUpTo(log.durableSequence);
    this.#space.punchFreed(log.durableSequence);
  }

  /**
   * Everything that was logged is durable in its place, and nothing that the log still holds will be replayed: what
   * lies under its pages may be written directly from here on. @throws HvError `io`, `no-space`
   */
  settle(): void {
    this.runNow(this.#log ? this.#emptyLog() : this.flushSteps());
  }

  /** Cuts off the space at the file's end that nothing uses. @throws HvError `io` */
  cutEnd(): void {
    // What was given back is punched by the first flush and free after the second.
    this.runNow(this.flushSteps());
    this.runNow(this.flushSteps());
    const end = this.#space.takeEnd();
    if (end === undefined) return;
    // The log names no greater length when the file loses it.
    this.settle();
    this.#cuts++;
    this.#flushedSizeBytes = Math.min(this.#flushedSizeBytes, end);
    if (this.#store.size() > end) this.#store.setSize(end);
    this.runNow(this.flushSteps());
  }

  /** Ends the session: everything in its place, the log marked empty. */
  *closeSteps(): FlushSteps {
    yield* this.flushSteps();
    if (!this.#log) return;
    yield* this.flushSteps();
    this.#log = undefined;
    yield* this.#headers.update({ logGuid: ZERO_GUID });
  }

  runNow(steps: FlushSteps): void {
    for (const _flush of steps) this.#store.flushSync();
  }

  async run(steps: FlushSteps): Promise<void> {
    for (const _flush of steps) await this.#store.flush();
  }

  /**
   * Begins the log. Its first entry is there before a header names it, so that a named log is never without one;
   * until then the headers call the log empty, and what lies in it counts for nothing.
   */
  #openLog(): void {
    // An earlier attempt to end or begin a log may have failed half-way: what a header names must not be overwritten.
    if (this.header.logGuid !== ZERO_GUID) this.runNow(this.#headers.update({ logGuid: ZERO_GUID }));
    const { logOffset, logLength } = this.header;
    const log = new LogWriter(this.#store, {
      offset: logOffset,
      length: logLength,
      guid: randomGuid(),
      hostRun: this.#hostRun,
    });
    log.append([], this.#sizes());
    this.#headers.writeStale({});
    this.#store.flushSync();
    log.noteDurable(log.lastSequence);
    this.runNow(this.#headers.update({ logGuid: log.logGuid }));
    this.#log = log;
  }

  /** Frees the whole ring: all in place and durable, then an empty entry that needs nothing before it. */
  *#emptyLog(): FlushSteps {
    yield* this.flushSteps();
    yield* this.flushSteps();
    this.#log?.append([], this.#sizes());
    yield* this.flushSteps();
  }

  #sizes(): FileSizes {
    return {
      flushedSizeBytes: roundDown(Math.min(this.#flushedSizeBytes, this.#space.endOffset), MIB),
      sizeBytes: roundUp(this.#space.endOffset, MIB),
    };
  }
}
