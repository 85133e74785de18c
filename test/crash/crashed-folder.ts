import { closeSync, ftruncateSync, mkdirSync, openSync, readdirSync, unlinkSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { MemoryStore } from '../../src/store/index.ts';
import { CrashReplayer } from '../../src/store/testing/fault-store.ts';
import type { FolderEvent, RecordedFile, Recording } from './recorded-files.ts';

const CHUNK = Buffer.alloc(64 * 1024);
const ZEROS = Buffer.alloc(CHUNK.length);

type Names = ReadonlyMap<string, RecordedFile>;
type NameEvent = Extract<FolderEvent, { readonly kind: 'names' }>;

/** The files of a folder by their paths, as a crash left them. */
export type CrashedFiles = ReadonlyMap<string, MemoryStore>;

/**
 * A folder at each moment of its past, as the process left it and as a power cut would: of the names that no flush of
 * their folder covered, the changes up to some moment, or any of them; of each file's contents what CrashReplayer says.
 */
export class FolderReplayer {
  readonly #log: readonly FolderEvent[];
  readonly #files = new Map<RecordedFile, CrashReplayer>();
  readonly #now: Map<string, RecordedFile>;
  readonly #durable: Map<string, RecordedFile>;
  /** Changes of names that are not durable yet, with their places in the log. */
  #pending: { readonly at: number; readonly event: NameEvent }[] = [];
  #at = 0;

  constructor({ initial, log }: Recording) {
    this.#log = log;
    this.#now = new Map(initial);
    this.#durable = new Map(initial);
  }

  /** Moves on to the moment after the first `count` steps. */
  advance(count: number): void {
    for (; this.#at < count; this.#at++) {
      const event = this.#log[this.#at];
      if (event?.kind === 'data') this.#replayer(event.file).advance(event.events);
      else if (event?.kind === 'names') {
        apply(this.#now, event);
        this.#pending.push({ at: this.#at, event });
      } else if (event?.kind === 'sync-folder') {
        const isCovered = (change: { readonly at: number; readonly event: NameEvent }): boolean =>
          change.at < event.upTo && change.event.folder === event.folder;
        for (const change of this.#pending) if (isCovered(change)) apply(this.#durable, change.event);
        this.#pending = this.#pending.filter((change) => !isCovered(change));
      }
    }
  }

  /** What the death of the process at this moment leaves. */
  content(): CrashedFiles {
    return this.#filled(this.#now, (replayer) => replayer.content());
  }

  /** What a power cut at this moment leaves. */
  afterPowerCut(random: () => number): CrashedFiles {
    const names = new Map(this.#durable);
    const inOrder = random() < 0.6;
    const kept = Math.floor(random() * (this.#pending.length + 1));
    this.#pending.forEach(({ event }, index) => {
      if (inOrder ? index < kept : random() < 0.5) apply(names, event);
    });
    return this.#filled(names, (replayer) => replayer.afterPowerCut(random));
  }

  #filled(names: Names, content: (replayer: CrashReplayer) => MemoryStore): CrashedFiles {
    return new Map([...names].map(([path, file]) => [path, content(this.#replayer(file))]));
  }

  #replayer(file: RecordedFile): CrashReplayer {
    let replayer = this.#files.get(file);
    if (!replayer) {
      replayer = new CrashReplayer(file.initial, file.events);
      this.#files.set(file, replayer);
    }
    return replayer;
  }
}

function apply(names: Map<string, RecordedFile>, { changes }: NameEvent): void {
  for (const [path, file] of changes) {
    if (file) names.set(path, file);
    else names.delete(path);
  }
}

/** Puts the files into the folder that they come from, in place of those that are there. */
export function restoreFolder(root: string, files: CrashedFiles): void {
  for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) unlinkSync(join(entry.parentPath, entry.name));
  }
  for (const [path, content] of files) {
    mkdirSync(dirname(path), { recursive: true });
    writeSparse(path, content);
  }
}

function writeSparse(path: string, content: MemoryStore): void {
  const fd = openSync(path, 'w', 0o600);
  const sizeBytes = content.size();
  for (let at = 0; at < sizeBytes; at += CHUNK.length) {
    const chunk = CHUNK.subarray(0, Math.min(CHUNK.length, sizeBytes - at));
    content.read(at, chunk, 0, chunk.length);
    if (!chunk.equals(ZEROS.subarray(0, chunk.length))) writeSync(fd, chunk, 0, chunk.length, at);
  }
  ftruncateSync(fd, sizeBytes);
  closeSync(fd);
}
