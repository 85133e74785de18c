import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  realpathSync,
  renameSync,
  unlinkSync,
} from 'node:fs';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { randomGuid } from '../binary/index.ts';
import { fromSystemError, HvError, isHvError, isSystemError } from '../errors/index.ts';
import { FileStore } from '../store/index.ts';
import { lockDiskImage, nameUnnamedFile, openUnnamedFile } from '../system/index.ts';
import { lockedStore, type OpenFile, type WriteAccess, writeAccessTo } from './open-file.ts';

export interface NewFileOptions {
  /** An open file whose name, owner and rights it takes over when it is whole: path and descriptor. The caller has locked it. */
  readonly replaces?: { readonly path: string; readonly fd: number } | undefined;
}

const MODE = 0o640;
const NEW_FILE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/**
 * A disk file in the making: without a name until it is whole, or, where the system has no such files, under a temporary
 * one. It then gets its own, which never replaces a file but one that it was told to. Ends with publish() or discard().
 */
export class NewFile {
  /** Where it will lie. */
  readonly path: string;
  readonly store: FileStore;
  readonly #temporary: string | undefined;
  readonly #writeAccess: WriteAccess;
  readonly #replaces: NewFileOptions['replaces'];
  #isPublished = false;
  #isOver = false;

  /** @throws HvError `not-found` (the folder), `permission-denied`, `in-use`, `invalid-argument`, `io` */
  constructor(path: string, options: NewFileOptions = {}) {
    this.#replaces = options.replaces;
    let fd: number;
    try {
      // A relative path stays one: a process may own its working folder without the right to walk there from the root.
      const folder = isAbsolute(path) ? realpathSync(dirname(path)) : dirname(path);
      this.path = join(folder, basename(path));
      const opened = openNew(folder, MODE);
      fd = opened.fd;
      this.#temporary = opened.path;
    } catch (error) {
      throw fromSystemError(error, `could not create ${path}`, { path });
    }
    try {
      const lock = lockDiskImage(fd, 'write', this.path);
      this.store = lockedStore(fd, this.path, lock, false);
      this.#writeAccess = writeAccessTo(fd, this.path, lock);
    } catch (error) {
      closeSync(fd);
      if (this.#temporary !== undefined) removeQuietly(this.#temporary);
      throw error;
    }
  }

  /**
   * Makes it durable and gives it its name. The file stays open, and locked.
   * @throws HvError `already-exists`, `no-space`, `permission-denied`, `io`
   */
  publish(): OpenFile {
    if (this.#replaces) this.#replace(this.#replaces);
    else {
      this.store.flushSync();
      if (this.#temporary === undefined) nameUnnamedFile(this.store.fd, this.path);
      else giveName(this.#temporary, this.path);
    }
    this.#isPublished = true;
    syncFolder(dirname(this.path));
    const stat = fstatSync(this.store.fd, { bigint: true });
    this.#isOver = true;
    const identity = `${stat.dev}:${stat.ino}`;
    return { store: this.store, path: this.path, identity, writeAccess: this.#writeAccess };
  }

  /** At every moment the name is the old file's or, whole and durable, the new one's. */
  #replace({ path, fd }: { readonly path: string; readonly fd: number }): void {
    const { uid, gid, mode } = fstatSync(fd);
    const temporary = this.#temporary ?? temporaryIn(dirname(path));
    try {
      fchmodSync(this.store.fd, mode & 0o7777);
      fchownSync(this.store.fd, uid, gid);
      this.store.flushSync();
      if (this.#temporary === undefined) nameUnnamedFile(this.store.fd, temporary);
      renameSync(temporary, path);
    } catch (error) {
      removeQuietly(temporary);
      throw fromSystemError(error, `could not replace ${path}`, { path });
    }
  }

  /** Closes and removes what is there of it; nothing happens once it is published. */
  discard(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.store.close();
    if (this.#isPublished) removeQuietly(this.path);
    else if (this.#temporary !== undefined) removeQuietly(this.#temporary);
  }
}

function openNew(folder: string, mode: number): { readonly fd: number; readonly path: string | undefined } {
  const fd = openUnnamedFile(folder, mode);
  if (fd !== undefined) return { fd, path: undefined };
  const path = temporaryIn(folder);
  return { fd: openSync(path, NEW_FILE, mode), path };
}

function temporaryIn(folder: string): string {
  return join(folder, `.${randomGuid()}.hv-new`);
}

/**
 * A file that never gets a name: its space is given back when the last who has it open closes it.
 * @throws HvError `permission-denied`, `not-found` (the folder), `no-space`, `io`
 */
export function namelessFile(folder: string): FileStore {
  try {
    const { fd, path } = openNew(folder, 0o600);
    const store = new FileStore(fd, `a temporary file in ${folder}`, { readOnly: false });
    try {
      if (path !== undefined) removeQuietly(path);
    } catch (error) {
      store.close();
      throw error;
    }
    return store;
  } catch (error) {
    throw fromSystemError(error, `could not make a temporary file in ${folder}`, { path: folder });
  }
}

/** The failure of a file that could not be made; a lack of space names the file. */
export function failureOf(path: string, error: unknown): unknown {
  if (!isHvError(error, 'no-space')) return error;
  return new HvError('no-space', `no space left for ${path}`, { detail: { ...error.detail, path }, cause: error });
}

/** Makes the names in a folder durable. */
export function syncFolder(folder: string): void {
  try {
    const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    // Some network file systems have no such call. A process may own what is in a folder without the right to open the
    // folder itself; then the name becomes durable when the file system next writes its journal.
    if (!isSystemError(error, 'EINVAL', 'ENOSYS', 'EOPNOTSUPP', 'EACCES')) {
      throw fromSystemError(error, `could not make the contents of ${folder} durable`, { path: folder });
    }
  }
}

/** Gives the file its name without ever replacing another: link() fails where a name is taken. */
function giveName(temporary: string, target: string): void {
  try {
    linkSync(temporary, target);
  } catch (error) {
    if (!isSystemError(error, 'EPERM', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK')) {
      throw fromSystemError(error, `could not create ${target}`, { path: target });
    }
    giveNameWithoutLinks(temporary, target);
    return;
  }
  removeQuietly(temporary);
}

/** A file system without hard links: the name is taken first, by an empty file of ours, then replaced. */
function giveNameWithoutLinks(temporary: string, target: string): void {
  try {
    closeSync(
      openSync(target, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o640),
    );
    renameSync(temporary, target);
  } catch (error) {
    throw fromSystemError(error, `could not create ${target}`, { path: target });
  }
}

function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT'))
      throw new HvError('io', `could not remove ${path}`, { detail: { path }, cause: error });
  }
}
