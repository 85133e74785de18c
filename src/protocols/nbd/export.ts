import { read as readAsync } from 'node:fs';
import { deferred } from '../../async/index.ts';
import type { BlockDevice, FileRange } from '../../disk/block-device.ts';
import { HvError, isHvError } from '../../errors/index.ts';
import { canReadNowait, preadNowait } from '../../system/index.ts';
import type { ExportInfo } from './handshake.ts';
import { TransmissionFlag } from './wire.ts';

/** What was asked of an export since it was added. */
export interface ExportStats {
  requests: number;
  readBytes: number;
  writtenBytes: number;
  /** Requests that were answered with an error. */
  errors: number;
  flushes: number;
  /** Reads that found nothing in memory and went through the thread pool. */
  coldReads: number;
  /** Connections in the transmission phase now. */
  connections: number;
}

/** A connection as its export sees it. */
export interface ExportClient {
  /** The gate has opened again: go on with what waited. */
  wake(): void;
  /** The export goes away. Resolves when the connection has ended. */
  shutdown(): Promise<void>;
}

/** Bounds the work of looking ahead for zeros. */
const RESOLVED_AT_ONCE_BYTES = 1024 * 1024;

/** A read that took longer had to wait for storage that is slow. */
const SLOW_READ_MS = 0.3;
const ASSUMED_COLD_READS = 32;

const BASE_FLAGS =
  TransmissionFlag.hasFlags |
  TransmissionFlag.sendFlush |
  TransmissionFlag.sendFua |
  TransmissionFlag.sendTrim |
  TransmissionFlag.sendWriteZeroes |
  TransmissionFlag.sendFastZero |
  TransmissionFlag.sendCache |
  // True because one device serves all connections on one thread: a flush covers every write acknowledged on any.
  TransmissionFlag.canMultiConn;

/** A device under a name. All connections to it share this object, its flushes and its gate. */
export class Export implements ExportInfo {
  readonly name: string;
  #device: BlockDevice;
  readonly sizeBytes: number;
  readonly flags: number;
  readonly flagsWithStructuredReplies: number;
  readonly stats: ExportStats = {
    requests: 0,
    readBytes: 0,
    writtenBytes: 0,
    errors: 0,
    flushes: 0,
    coldReads: 0,
    connections: 0,
  };
  readonly clients = new Set<ExportClient>();
  #readsNowait = true;
  #knowsNowait = false;
  #resolves = true;
  /** Reads that go to the pool without a try, because the last one had to wait for storage. */
  #assumedCold = 0;
  #isGated = false;
  #coldReadsInFlight = 0;
  #idle: (() => void)[] = [];
  /** Changes whenever a place in a file may get another meaning. */
  #mapGeneration = 0;
  #runningFlush: Promise<void> | undefined;
  #nextFlush: Promise<void> | undefined;

  constructor(name: string, device: BlockDevice) {
    this.name = name;
    this.#device = device;
    this.sizeBytes = device.sizeBytes;
    this.flags = BASE_FLAGS | (device.readOnly ? TransmissionFlag.readOnly : 0);
    this.flagsWithStructuredReplies = this.flags | TransmissionFlag.sendDf;
  }

  get device(): BlockDevice {
    return this.#device;
  }

  /**
   * Goes on with another device of the same contents: the same one with something that watches it, or, while nothing is
   * in progress, one that took its place. The old one stays the caller's.
   */
  replaceDevice(device: BlockDevice): void {
    if (device.sizeBytes !== this.sizeBytes || device.readOnly !== this.#device.readOnly) {
      throw new HvError(
        'internal',
        `the export ${JSON.stringify(this.name)} keeps its size and what may be done to it`,
      );
    }
    this.#device = device;
    this.#mapGeneration++;
    this.#resolves = true;
  }

  /** While the gate is shut, connections take no new request. */
  get isGated(): boolean {
    return this.#isGated;
  }

  /**
   * Fills the target with what is in memory.
   * @returns `zero`: the range is zeros, which were not written; `cold`: something would have to come from storage
   *   and the target's contents are undefined
   */
  tryRead(offset: number, target: Uint8Array, start: number, length: number): 'memory' | 'zero' | 'cold' {
    const ranges = this.#resolve(offset, length);
    const only = ranges?.[0];
    if (only && only.length === length && only.fd === undefined) return 'zero';
    if (!ranges || !this.#readsNowait) return this.#readTimed(offset, target, start, length);
    let at = start;
    for (const range of ranges) {
      if (range.fd === undefined) target.fill(0, at, at + range.length);
      else if (preadNowait(range.fd, target, at, range.length, range.fileOffset) !== range.length) {
        // Either it is cold or the file system cannot tell, which is asked only once.
        this.#knowsNowait ||= canReadNowait(range.fd);
        if (this.#knowsNowait) return 'cold';
        this.#readsNowait = false;
        return this.#readTimed(offset, target, start, length);
      }
      at += range.length;
    }
    return 'memory';
  }

  /** Without preadNowait: reads and learns from the time it took whether the next reads are better left to the pool. */
  #readTimed(offset: number, target: Uint8Array, start: number, length: number): 'memory' | 'cold' {
    if (this.#assumedCold > 0) {
      this.#assumedCold--;
      return 'cold';
    }
    this.#readAndTime(offset, target, start, length);
    return 'memory';
  }

  /**
   * Reads from storage on this thread, when nothing else waits for it and storage is quick: then the way through the
   * pool takes longer than the read.
   * @returns false when the pool is the better way; the target's contents are then undefined
   */
  tryReadWaiting(offset: number, target: Uint8Array, start: number, length: number): boolean {
    if (this.#assumedCold > 0) {
      this.#assumedCold--;
      return false;
    }
    this.stats.coldReads++;
    this.#readAndTime(offset, target, start, length);
    return true;
  }

  #readAndTime(offset: number, target: Uint8Array, start: number, length: number): void {
    const startedAt = performance.now();
    this.#device.read(offset, target, start, length);
    if (performance.now() - startedAt > SLOW_READ_MS) this.#assumedCold = ASSUMED_COLD_READS;
  }

  /**
   * How the range begins: with zeros, at least `minZeroBytes` of them and all that are known at once, or with data,
   * at most `maxDataBytes` and up to the next such run of zeros.
   */
  firstRun(
    offset: number,
    length: number,
    minZeroBytes: number,
    maxDataBytes: number,
  ): { readonly isZero: boolean; readonly length: number } {
    let done = 0;
    const ranges = this.#resolve(offset, Math.min(length, RESOLVED_AT_ONCE_BYTES));
    if (!ranges) return { isZero: false, length: Math.min(length, maxDataBytes) };
    for (const range of ranges) {
      if (range.fd === undefined && range.length >= minZeroBytes) {
        return done === 0 ? { isZero: true, length: range.length } : { isZero: false, length: done };
      }
      done += range.length;
      if (done >= maxDataBytes) return { isZero: false, length: maxDataBytes };
    }
    return { isZero: false, length: done };
  }

  /** Reads through the thread pool, so that storage works on several requests at once. `done` is called later, once. */
  readCold(
    offset: number,
    target: Uint8Array,
    start: number,
    length: number,
    done: (failure: { readonly error: unknown } | undefined) => void,
  ): void {
    const generation = this.#mapGeneration;
    this.#coldReadsInFlight++;
    this.stats.coldReads++;
    let left = 1;
    let isComplete = true;
    const finishOne = (): void => {
      if (--left > 0) return;
      let failure: { readonly error: unknown } | undefined;
      try {
        // A trim may have given the place to other contents meanwhile; a short read means the same, or an odd file end.
        if (!isComplete || generation !== this.#mapGeneration) this.#device.read(offset, target, start, length);
      } catch (error) {
        failure = { error };
      }
      this.#coldReadsInFlight--;
      this.#tellIdle();
      done(failure);
    };
    let ranges: readonly FileRange[] | undefined;
    try {
      ranges = this.#resolve(offset, length);
    } catch {
      // The device's own read says what is wrong.
    }
    if (!ranges) isComplete = false;
    let at = start;
    for (const range of ranges ?? []) {
      if (range.fd === undefined) target.fill(0, at, at + range.length);
      else {
        left++;
        readAsync(range.fd, target, at, range.length, range.fileOffset, (error, bytesRead) => {
          if (error || bytesRead !== range.length) isComplete = false;
          finishOne();
        });
      }
      at += range.length;
    }
    // Never before the call returns.
    if (left === 1) setImmediate(finishOne);
    else finishOne();
  }

  /** Undefined where the device's bytes are not in files as they are read: a replay in memory lies over them. */
  #resolve(offset: number, length: number): readonly FileRange[] | undefined {
    if (!this.#resolves) return undefined;
    try {
      return this.#device.resolveRead(offset, length);
    } catch (error) {
      if (!isHvError(error, 'unsupported')) throw error;
      this.#resolves = false;
      return undefined;
    }
  }

  trim(offset: number, length: number): void {
    this.#mapGeneration++;
    this.#device.trim(offset, length);
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): void {
    this.#mapGeneration++;
    this.#device.writeZeroes(offset, length, mayUnmap);
  }

  /**
   * Covers every write acknowledged before the call, on any connection. Calls that come while a flush runs share
   * the next one: the running one may have begun before their writes.
   */
  flush(): Promise<void> {
    if (this.#nextFlush) return this.#nextFlush;
    if (!this.#runningFlush) return this.#startFlush();
    const next = this.#runningFlush
      .catch(() => {}) // its own callers hear of that failure
      .then(() => {
        this.#nextFlush = undefined;
        return this.#startFlush();
      });
    this.#nextFlush = next;
    return next;
  }

  #startFlush(): Promise<void> {
    this.stats.flushes++;
    const flushDevice = async (): Promise<void> => this.#device.flush();
    const running = flushDevice().finally(() => {
      // Nobody has started another meanwhile: that waits for this one.
      this.#runningFlush = undefined;
      this.#tellIdle();
    });
    this.#runningFlush = running;
    return running;
  }

  /** Runs `work` while no request is in progress and none starts; connections wait meanwhile. */
  async exclusively<T>(work: () => Promise<T> | T): Promise<T> {
    if (this.#isGated) throw new HvError('in-use', `the export ${JSON.stringify(this.name)} is being changed already`);
    this.#isGated = true;
    try {
      while (this.#coldReadsInFlight > 0 || this.#runningFlush || this.#nextFlush) {
        const idle = deferred<void>();
        this.#idle.push(() => idle.resolve());
        await idle.promise;
      }
      return await work();
    } finally {
      this.#mapGeneration++;
      this.#isGated = false;
      for (const client of this.clients) client.wake();
    }
  }

  #tellIdle(): void {
    if (this.#idle.length === 0) return;
    const waiting = this.#idle;
    this.#idle = [];
    for (const tell of waiting) tell();
  }
}
