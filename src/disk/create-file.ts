import {
  closeSync,
  constants,
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
import { createVhdImage, type NewVhd, validateNewVhd } from '../formats/vhd/index.ts';
import { createVhdx, type NewVhdx, validateNewVhdx } from '../formats/vhdx/index.ts';
import { FileStore } from '../store/index.ts';
import { lockDiskImage } from '../system/index.ts';
import type { OpenFile } from './open-file.ts';

/** A disk file that is to be made, in the terms of its format. */
export type NewImage =
  | { readonly format: 'vhdx'; readonly spec: NewVhdx }
  | { readonly format: 'vhd'; readonly spec: NewVhd }
  | {
      readonly format: 'raw';
      readonly spec: { readonly type: 'fixed' | 'dynamic'; readonly virtualSizeBytes: number };
    };

/** Refuses sizes that the format does not have. @throws HvError `invalid-argument` */
export function checkedImage(image: NewImage): NewImage {
  if (image.format === 'vhdx') {
    validateNewVhdx(image.spec);
    return image;
  }
  if (image.format === 'vhd') {
    validateNewVhd(image.spec);
    return image;
  }
  const { virtualSizeBytes } = image.spec;
  if (Number.isSafeInteger(virtualSizeBytes) && virtualSizeBytes > 0 && virtualSizeBytes % 512 === 0) return image;
  throw new HvError(
    'invalid-argument',
    `the size of a disk must be a positive multiple of 512 bytes; ${virtualSizeBytes} is not`,
  );
}

/**
 * Makes a disk file: whole and durable under its name, or not there at all. It is written under a temporary name in the
 * same folder and then given its own, which never replaces a file. Returned open for writing, and locked.
 * @throws HvError `already-exists`, `not-found` (the folder), `permission-denied`, `no-space`, `invalid-argument`, `io`
 */
export function createImageFile(path: string, image: NewImage): OpenFile {
  checkedImage(image);
  return createFile(path, (store) => {
    if (image.format === 'vhdx') {
      createVhdx(store, image.spec);
      return;
    }
    if (image.format === 'vhd') {
      createVhdImage(store, image.spec);
      return;
    }
    const { type, virtualSizeBytes } = image.spec;
    store.setSize(virtualSizeBytes);
    if (type === 'fixed') store.allocate(0, virtualSizeBytes);
  });
}

/** The same for any contents that `fill` writes. */
export function createFile(path: string, fill: (store: FileStore) => void): OpenFile {
  let folder: string;
  let temporary: string;
  let fd: number;
  try {
    // A relative path stays one: a process may own its working folder without the right to walk there from the root.
    folder = isAbsolute(path) ? realpathSync(dirname(path)) : dirname(path);
    temporary = join(folder, `.${randomGuid()}.hv-new`);
    fd = openSync(temporary, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o640);
  } catch (error) {
    throw fromSystemError(error, `could not create ${path}`, { path });
  }
  const target = join(folder, basename(path));
  let store: FileStore | undefined;
  let isPublished = false;
  try {
    const lock = lockDiskImage(fd, 'write', target);
    store = new FileStore(fd, target, { readOnly: false, onClose: () => lock.release() });
    fill(store);
    store.flushSync();
    publish(temporary, target);
    isPublished = true;
    syncFolder(folder);
    const stat = fstatSync(fd, { bigint: true });
    return { store, path: target, identity: `${stat.dev}:${stat.ino}` };
  } catch (error) {
    if (store) store.close();
    else closeSync(fd);
    removeQuietly(isPublished ? target : temporary);
    if (isHvError(error, 'no-space')) {
      throw new HvError('no-space', `no space left for ${target}`, { detail: { path: target }, cause: error });
    }
    throw error;
  }
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
function publish(temporary: string, target: string): void {
  try {
    linkSync(temporary, target);
  } catch (error) {
    if (!isSystemError(error, 'EPERM', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK')) {
      throw fromSystemError(error, `could not create ${target}`, { path: target });
    }
    publishWithoutLinks(temporary, target);
    return;
  }
  removeQuietly(temporary);
}

/** A file system without hard links: the name is taken first, by an empty file of ours, then replaced. */
function publishWithoutLinks(temporary: string, target: string): void {
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
