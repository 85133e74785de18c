import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { dirname, join } from 'node:path';
import { nativeLibc } from '../../src/native/index.ts';
import { MemoryStore } from '../../src/store/index.ts';
import type { StoreEvent } from '../../src/store/testing/fault-store.ts';

const PUNCH_HOLE = 0x02;
const O_TMPFILE = 0o20000000;
const CHUNK_BYTES = 64 * 1024;

/** A file, whatever names it has by now: what it held in the beginning, and what was done to it. */
export class RecordedFile {
  readonly initial: MemoryStore;
  readonly events: StoreEvent[] = [];
  /** Its contents by now. */
  readonly now: MemoryStore;

  constructor(initial: MemoryStore = new MemoryStore()) {
    this.initial = initial;
    this.now = initial.clone();
  }
}

/** One step that the operating system was asked for, in order. */
export type FolderEvent =
  /** The file has had so many events now. */
  | { readonly kind: 'data'; readonly file: RecordedFile; readonly events: number; readonly what: string }
  /** Names of one folder that change as one; undefined: gone. */
  | {
      readonly kind: 'names';
      readonly folder: string;
      readonly changes: readonly (readonly [path: string, file: RecordedFile | undefined])[];
      readonly what: string;
    }
  /** Every change of names in the folder among the first `upTo` events of the log is durable. */
  | { readonly kind: 'sync-folder'; readonly folder: string; readonly upTo: number; readonly what: string };

export interface Recording {
  /** The files before, by their paths. */
  readonly initial: ReadonlyMap<string, RecordedFile>;
  readonly log: readonly FolderEvent[];
  /** The places in the product that made something durable that was not. */
  readonly flushSites: ReadonlySet<string>;
  /** What the work threw. */
  readonly failure: unknown;
}

export interface RecordOptions {
  /** False: as on a file system without files that have no name. */
  readonly unnamedFiles?: boolean;
  /** The product as it would be without its flushes at that place: to see that a missing one is noticed. */
  readonly withoutFlushAt?: string | undefined;
}

type Functions = Record<string, (...args: never[]) => unknown>;

/**
 * Does work on real files and remembers every step of it that changes a file of a folder or makes one durable, through
 * whichever door: Node's calls and those of the C library. What went past all of them is noticed at the end.
 */
export async function recordFiles(
  root: string,
  work: () => Promise<unknown>,
  options: RecordOptions = {},
): Promise<Recording> {
  const recorder = new Recorder(root, readFolder(root), options.withoutFlushAt);
  const initial = new Map(recorder.names);
  const restore = watch(recorder, options);
  let failure: unknown;
  try {
    await work();
  } catch (error) {
    failure = error;
  } finally {
    restore();
  }
  mustBeSame(recorder.names, readFolder(root));
  return { initial, log: recorder.log, flushSites: recorder.flushSites, failure };
}

/** The files of a folder and of the folders in it. */
function readFolder(root: string): Map<string, RecordedFile> {
  const files = new Map<string, RecordedFile>();
  for (const entry of fs.readdirSync(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) files.set(path, new RecordedFile(readSparse(path)));
  }
  return files;
}

function readSparse(path: string): MemoryStore {
  const store = new MemoryStore();
  const bytes = fs.readFileSync(path);
  const zeros = Buffer.alloc(CHUNK_BYTES);
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
    const chunk = bytes.subarray(at, at + CHUNK_BYTES);
    if (!chunk.equals(zeros.subarray(0, chunk.length))) store.write(at, chunk, 0, chunk.length);
  }
  store.setSize(bytes.length);
  return store;
}

function mustBeSame(model: ReadonlyMap<string, RecordedFile>, real: ReadonlyMap<string, RecordedFile>): void {
  const names = (files: ReadonlyMap<string, RecordedFile>): string => [...files.keys()].sort().join(', ');
  if (names(model) !== names(real)) throw new Error(`recorded ${names(model)}; there are ${names(real)}`);
  for (const [path, { now }] of model) {
    const there = real.get(path)?.now ?? new MemoryStore();
    if (!contentOf(now).equals(contentOf(there))) throw new Error(`a change of ${path} was not recorded`);
  }
}

export function contentOf(store: MemoryStore): Buffer {
  const bytes = Buffer.alloc(store.size());
  store.read(0, bytes, 0, bytes.length);
  return bytes;
}

class Recorder {
  readonly root: string;
  readonly names: Map<string, RecordedFile>;
  readonly log: FolderEvent[] = [];
  /** What each descriptor is open on: a file, or a folder of the root. */
  readonly open = new Map<number, RecordedFile | string>();

  readonly flushSites = new Set<string>();
  readonly #withoutFlushAt: string | undefined;

  constructor(root: string, names: Map<string, RecordedFile>, withoutFlushAt: string | undefined) {
    this.root = root;
    this.names = names;
    this.#withoutFlushAt = withoutFlushAt;
  }

  isInside(path: unknown): path is string {
    return typeof path === 'string' && (path === this.root || path.startsWith(`${this.root}/`));
  }

  data(fd: number, event: StoreEvent, what: string): void {
    const file = this.open.get(fd);
    if (!(file instanceof RecordedFile)) return;
    file.events.push(event);
    if (event.kind === 'write') file.now.write(event.position, event.bytes, 0, event.bytes.length);
    else if (event.kind === 'zero') file.now.punchHole(event.position, event.length);
    else if (event.kind === 'size') file.now.setSize(event.sizeBytes);
    this.log.push({ kind: 'data', file, events: file.events.length, what: `${what} ${this.nameOf(file)}` });
  }

  rename(changes: readonly (readonly [string, RecordedFile | undefined])[], what: string): void {
    const folder = dirname(changes[0]?.[0] ?? '');
    if (changes.some(([path]) => dirname(path) !== folder)) throw new Error('names of two folders change as one');
    for (const [path, file] of changes) {
      if (file) this.names.set(path, file);
      else this.names.delete(path);
    }
    this.log.push({ kind: 'names', folder, changes, what });
  }

  /** Takes the moment of a flush of a file or a folder; the call that comes back is made when it has succeeded. */
  sync(fd: number): () => void {
    const target = this.open.get(fd);
    const site = target === undefined ? undefined : siteOf(new Error('only for its stack').stack ?? '');
    if (site !== undefined && this.#isUncovered(target)) this.flushSites.add(site);
    if (site !== undefined && site === this.#withoutFlushAt) return () => {};
    if (target instanceof RecordedFile) {
      const upTo = target.events.length;
      return () => this.data(fd, { kind: 'flush', upTo }, 'flush');
    }
    const upTo = this.log.length;
    if (target === undefined) return () => {};
    return () => this.log.push({ kind: 'sync-folder', folder: target, upTo, what: `flush the folder ${target}` });
  }

  /** Whether something of it is not durable: a flush of nothing is no loss. */
  #isUncovered(target: RecordedFile | string | undefined): boolean {
    if (target instanceof RecordedFile) {
      const last = target.events.findLast((event) => event.kind === 'flush');
      const from = last?.kind === 'flush' ? last.upTo : 0;
      return target.events.slice(from).some((event) => event.kind !== 'flush');
    }
    const last = this.log.findLastIndex((event) => event.kind === 'sync-folder' && event.folder === target);
    return this.log.slice(last + 1).some((event) => event.kind === 'names' && event.folder === target);
  }

  opened(fd: number, path: string, flags: number, wasThere: boolean): void {
    if ((flags & O_TMPFILE) !== 0) {
      this.open.set(fd, new RecordedFile());
      return;
    }
    const present = this.names.get(path);
    if (wasThere || present) {
      this.open.set(fd, present ?? path);
      if (present && (flags & fs.constants.O_TRUNC) !== 0) this.data(fd, { kind: 'size', sizeBytes: 0 }, 'truncate');
      return;
    }
    const file = new RecordedFile();
    this.open.set(fd, file);
    this.rename([[path, file]], `create ${path}`);
  }

  fileAt(path: string): RecordedFile | undefined {
    const descriptor = /^\/proc\/self\/fd\/(\d+)$/.exec(path)?.[1];
    const file = descriptor === undefined ? this.names.get(path) : this.open.get(Number(descriptor));
    return file instanceof RecordedFile ? file : undefined;
  }

  nameOf(file: RecordedFile): string {
    for (const [path, other] of this.names) if (other === file) return path.slice(this.root.length + 1);
    return 'a file without a name';
  }
}

/** The innermost line of the disk room or of a format, above what every flush goes through. */
function siteOf(stack: string): string | undefined {
  const sites = stack.split('\n').flatMap((line) => {
    const site = /src\/((?:disk|formats|system)\/[\w/-]+\.ts:\d+)/.exec(line)?.[1];
    return site === undefined ? [] : [{ site, isShared: /syncFolder|vhdx\/journal\.ts/.test(line) }];
  });
  return (sites.find(({ isShared }) => !isShared) ?? sites[0])?.site;
}

/** Puts the recorder between the product and the system. @returns what takes it away again */
function watch(recorder: Recorder, { unnamedFiles = true }: RecordOptions): () => void {
  const original = { ...fs };
  const promises = { ...fs.promises };
  const libc = nativeLibc();
  const native = libc && { ...libc };
  // The names are those of functions that the objects have: the casts say no more.
  const patch = (target: object, name: string, make: (real: (...args: never[]) => unknown) => unknown): void => {
    (target as unknown as Record<string, unknown>)[name] = make(
      (target as unknown as Functions)[name]?.bind(target) as (...args: never[]) => unknown,
    );
  };

  fs.openSync = (path, flags, mode) => {
    const bits = typeof flags === 'number' ? flags : 0;
    if (!recorder.isInside(path)) return original.openSync(path, flags, mode);
    if ((bits & O_TMPFILE) !== 0 && !unnamedFiles) {
      throw Object.assign(new Error('no files without a name here'), { code: 'EOPNOTSUPP' });
    }
    const wasThere = original.lstatSync(path, { throwIfNoEntry: false }) !== undefined;
    const fd = original.openSync(path, flags, mode);
    recorder.opened(fd, path, bits, wasThere);
    return fd;
  };
  fs.closeSync = (fd) => {
    recorder.open.delete(fd);
    original.closeSync(fd);
  };
  patch(fs, 'writeSync', () => (fd: number, bytes: Uint8Array, start: number, length: number, position: number) => {
    const count = original.writeSync(fd, bytes, start, length, position);
    recorder.data(
      fd,
      { kind: 'write', position, bytes: Uint8Array.from(bytes.subarray(start, start + count)) },
      'write',
    );
    return count;
  });
  fs.writeFileSync = (place, data, options) => {
    original.writeFileSync(place, data, options);
    const bytes = Uint8Array.from(Buffer.from(data as string));
    if (typeof place === 'number') recorder.data(place, { kind: 'write', position: 0, bytes }, 'write');
  };
  fs.ftruncateSync = (fd, sizeBytes) => {
    original.ftruncateSync(fd, sizeBytes);
    recorder.data(fd, { kind: 'size', sizeBytes: sizeBytes ?? 0 }, 'resize');
  };
  for (const name of ['fsyncSync', 'fdatasyncSync'] as const) {
    fs[name] = (fd) => {
      const done = recorder.sync(fd);
      original[name](fd);
      done();
    };
  }
  patch(fs, 'fdatasync', () => (fd: number, answer: (error: Error | null) => void) => {
    const done = recorder.sync(fd);
    original.fdatasync(fd, (error) => {
      if (!error) done();
      answer(error);
    });
  });
  const removed = (path: unknown): void => {
    if (recorder.isInside(path)) recorder.rename([[path, undefined]], `unlink ${path}`);
  };
  const renamed = (from: unknown, to: unknown): void => {
    if (!recorder.isInside(from) || !recorder.isInside(to)) return;
    const file = recorder.names.get(from);
    recorder.rename(
      [
        [from, undefined],
        [to, file],
      ],
      `rename ${from} to ${to}`,
    );
  };
  fs.unlinkSync = (path) => {
    original.unlinkSync(path);
    removed(path);
  };
  fs.renameSync = (from, to) => {
    original.renameSync(from, to);
    renamed(from, to);
  };
  fs.linkSync = (from, to) => {
    original.linkSync(from, to);
    if (recorder.isInside(to)) recorder.rename([[to, recorder.fileAt(String(from))]], `link ${from} as ${to}`);
  };
  fs.promises.unlink = async (path) => {
    await promises.unlink(path);
    removed(path);
  };
  fs.promises.rename = async (from, to) => {
    await promises.rename(from, to);
    renamed(from, to);
  };
  fs.promises.open = async (path, flags, mode) => {
    const wasThere = original.lstatSync(path, { throwIfNoEntry: false }) !== undefined;
    const handle = await promises.open(path, flags, mode);
    if (!recorder.isInside(path)) return handle;
    recorder.opened(handle.fd, path, typeof flags === 'number' ? flags : 0, wasThere);
    const { fd } = handle;
    patch(handle, 'writeFile', (real) => async (data: string | Uint8Array) => {
      await real(...([data] as never[]));
      const bytes = new Uint8Array(Buffer.from(data as string));
      recorder.data(fd, { kind: 'write', position: 0, bytes }, 'write');
    });
    patch(handle, 'sync', (real) => async () => {
      const done = recorder.sync(fd);
      await real();
      done();
    });
    patch(handle, 'close', (real) => async () => {
      recorder.open.delete(fd);
      await real();
    });
    return handle;
  };
  if (libc && native) {
    libc.fallocate = (fd, mode, position, length) => {
      const result = native.fallocate(fd, mode, position, length);
      if (result >= 0 && (mode & PUNCH_HOLE) !== 0) recorder.data(fd, { kind: 'zero', position, length }, 'punch');
      return result;
    };
    libc.linkat = (fromFolder, from, toFolder, to, flags) => {
      const result = native.linkat(fromFolder, from, toFolder, to, flags);
      if (result >= 0) recorder.rename([[to, recorder.fileAt(from)]], `name ${to}`);
      return result;
    };
    libc.copyFileRange = (fdIn, offsetIn, fdOut, offsetOut, length) => {
      const count = native.copyFileRange(fdIn, offsetIn, fdOut, offsetOut, length);
      if (count <= 0) return count;
      const bytes = new Uint8Array(count);
      original.readSync(fdOut, bytes, 0, count, offsetOut);
      recorder.data(fdOut, { kind: 'write', position: offsetOut, bytes }, 'copy into');
      return count;
    };
  }
  syncBuiltinESMExports();
  return () => {
    giveBack(fs, original);
    giveBack(fs.promises, promises);
    if (libc && native) giveBack(libc, native);
    syncBuiltinESMExports();
  };
}

function giveBack<T extends object>(target: T, original: T): void {
  for (const name of Object.keys(original) as (keyof T)[]) {
    if (target[name] !== original[name]) target[name] = original[name];
  }
}
