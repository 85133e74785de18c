import { HvError } from '../../errors/index.ts';
import type { ByteStore } from '../byte-store.ts';
import { MemoryStore } from '../memory-store.ts';

const PAGE_BYTES = 4096;

/** What a store was told to change, in order; `flush` marks that all before it is durable. */
export type StoreEvent =
  | { readonly kind: 'write'; readonly position: number; readonly bytes: Uint8Array }
  | { readonly kind: 'zero'; readonly position: number; readonly length: number }
  | { readonly kind: 'size'; readonly sizeBytes: number }
  | { readonly kind: 'flush'; readonly upTo: number };

/** Thrown by a store that has died: nothing but the test may catch it. */
export class ProcessDeath extends Error {}

/** Seeded numbers in [0, 1): mulberry32. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * A store in memory that remembers every change and can go wrong in every way that a disk does:
 * fail at the n-th call, fill up, die after the n-th change; and afterwards say what a power cut would have left.
 */
export class FaultStore implements ByteStore {
  readonly name = 'fault-store';
  readonly readOnly = false;
  readonly fd = undefined;
  readonly events: StoreEvent[] = [];
  /** How often each kind of call came. */
  readonly counts = { read: 0, write: 0, flush: 0, size: 0, zero: 0 };
  /** Changes (writes, zeroes, sizes) after which the process is dead; the last one is still done. */
  dieAfterChanges = Number.POSITIVE_INFINITY;
  /** The number of the write, counted from 1, that fails with `io`; only that one. */
  failWrite = 0;
  /** The number of the flush, counted from 1, that fails with `io`; only that one. */
  failFlush = 0;
  /** Fills up: a change that needs more than this size fails with `no-space`. */
  capacityBytes = Number.POSITIVE_INFINITY;
  /** Called after each change; may throw ProcessDeath, for a death that several stores share. */
  afterChange: (() => void) | undefined;
  readonly #initial: MemoryStore;
  readonly #now: MemoryStore;
  #changes = 0;
  #dead = false;

  constructor(initial: MemoryStore = new MemoryStore()) {
    this.#initial = initial.clone();
    this.#now = initial.clone();
  }

  get changes(): number {
    return this.#changes;
  }

  /** The contents as the process left them. */
  content(): MemoryStore {
    return this.#now.clone();
  }

  size(): number {
    this.#mustLive();
    return this.#now.size();
  }

  read(position: number, target: Uint8Array, targetStart: number, length: number): void {
    this.#mustLive();
    this.counts.read++;
    this.#now.read(position, target, targetStart, length);
  }

  write(position: number, source: Uint8Array, sourceStart: number, length: number): void {
    this.#mustLive();
    if (++this.counts.write === this.failWrite) throw new HvError('io', 'the write failed as the test asked');
    this.#mustFit(position + length);
    // Not slice(): that of a Buffer shares its memory with the caller.
    const bytes = new Uint8Array(source.subarray(sourceStart, sourceStart + length));
    this.#now.write(position, bytes, 0, length);
    this.#changed({ kind: 'write', position, bytes });
  }

  setSize(sizeBytes: number): void {
    this.#mustLive();
    this.counts.size++;
    this.#mustFit(sizeBytes);
    this.#now.setSize(sizeBytes);
    this.#changed({ kind: 'size', sizeBytes });
  }

  punchHole(position: number, length: number): void {
    this.#mustLive();
    this.counts.zero++;
    this.#now.punchHole(position, length);
    this.#changed({ kind: 'zero', position, length });
  }

  allocate(): void {
    this.#mustLive();
  }

  flushSync(): void {
    this.#mustLive();
    this.#flushed(this.events.length);
  }

  async flush(): Promise<void> {
    this.#mustLive();
    const upTo = this.events.length;
    await Promise.resolve();
    this.#mustLive();
    this.#flushed(upTo);
  }

  close(): void {}

  /** Goes through the events again, to see what each moment left. */
  replayer(): CrashReplayer {
    return new CrashReplayer(this.#initial, this.events);
  }

  #changed(event: StoreEvent): void {
    this.events.push(event);
    this.#changes++;
    this.afterChange?.();
    if (this.#changes < this.dieAfterChanges) return;
    this.#dead = true;
    throw new ProcessDeath();
  }

  #flushed(upTo: number): void {
    if (++this.counts.flush === this.failFlush) throw new HvError('io', 'the flush failed as the test asked');
    this.events.push({ kind: 'flush', upTo });
  }

  #mustLive(): void {
    if (this.#dead) throw new ProcessDeath();
  }

  #mustFit(end: number): void {
    if (end > this.capacityBytes) throw new HvError('no-space', 'the store is full as the test asked');
  }
}

/** The contents of a store at each moment of its past: as the process left them, and as a power cut would. */
export class CrashReplayer {
  readonly #events: readonly StoreEvent[];
  /** Everything until now, and everything that a flush has covered until now. */
  readonly #now: MemoryStore;
  readonly #durable: MemoryStore;
  #at = 0;
  #durableAt = 0;

  constructor(initial: MemoryStore, events: readonly StoreEvent[]) {
    this.#events = events;
    this.#now = initial.clone();
    this.#durable = initial.clone();
  }

  /** Moves on to the moment after the first `count` events. */
  advance(count: number): void {
    for (; this.#at < count; this.#at++) {
      const event = this.#events[this.#at];
      apply(this.#now, event);
      if (event?.kind !== 'flush') continue;
      for (; this.#durableAt < event.upTo; this.#durableAt++) apply(this.#durable, this.#events[this.#durableAt]);
    }
  }

  /** What the death of the process at this moment leaves. */
  content(): MemoryStore {
    return this.#now.clone();
  }

  /**
   * What a power cut at this moment leaves: all that a flush covered; of the rest every 4 KiB page by itself as it was
   * after one of the changes since then, or as before. The length is old, or long enough for the pages that made it.
   */
  afterPowerCut(random: () => number): MemoryStore {
    const image = this.#durable.clone();
    const running = this.#durable.clone();
    const moments = new Map<number, number>();
    const buffer = new Uint8Array(PAGE_BYTES);
    let sizeBytes = image.size();
    for (let index = this.#durableAt; index < this.#at; index++) {
      const event = this.#events[index];
      apply(running, event);
      if (event?.kind === 'size' && random() < 0.5) sizeBytes = event.sizeBytes;
      for (const page of pagesOf(event)) {
        let moment = moments.get(page);
        if (moment === undefined) {
          const chance = random();
          if (chance < 0.35) moment = index;
          else moment = chance < 0.7 ? this.#at : index + Math.ceil(random() * (this.#at - index));
          moments.set(page, moment);
        }
        if (moment <= index) continue;
        running.read(page * PAGE_BYTES, buffer, 0, PAGE_BYTES);
        image.write(page * PAGE_BYTES, buffer, 0, PAGE_BYTES);
        sizeBytes = Math.max(sizeBytes, Math.min(running.size(), (page + 1) * PAGE_BYTES));
      }
    }
    image.setSize(sizeBytes);
    return image;
  }
}

function apply(image: MemoryStore, event: StoreEvent | undefined): void {
  if (event?.kind === 'write') image.write(event.position, event.bytes, 0, event.bytes.length);
  else if (event?.kind === 'zero') image.punchHole(event.position, event.length);
  else if (event?.kind === 'size') image.setSize(event.sizeBytes);
}

function* pagesOf(event: StoreEvent | undefined): Generator<number> {
  if (event?.kind !== 'write' && event?.kind !== 'zero') return;
  const length = event.kind === 'write' ? event.bytes.length : event.length;
  if (length === 0) return;
  const last = Math.floor((event.position + length - 1) / PAGE_BYTES);
  for (let page = Math.floor(event.position / PAGE_BYTES); page <= last; page++) yield page;
}
