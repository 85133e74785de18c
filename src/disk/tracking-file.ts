import { closeSync, constants, fstatSync, openSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { fromSystemError, HvError, isHvError, isSystemError } from '../errors/index.ts';
import { FileStore } from '../store/index.ts';
import { lockFile } from '../system/index.ts';
import { syncFolder } from './create-file.ts';

/** Where the changed blocks of a disk file are kept: beside it. A disk that is moved or renamed takes it along. */
export function trackingPath(diskPath: string): string {
  return `${diskPath}.rct`;
}

/**
 * Opens the tracking file of a disk; undefined where there is none. A link or a device in its place is refused.
 * @throws HvError `permission-denied`, `invalid-argument`, `in-use` (somebody else writes to it), `io`
 */
export function openTrackingFile(diskPath: string, access: 'read' | 'write'): FileStore | undefined {
  const path = trackingPath(diskPath);
  const fd = openForMost(path, access);
  if (fd === undefined) return undefined;
  try {
    if (!fstatSync(fd).isFile()) {
      throw new HvError('invalid-argument', `${path} is not a regular file`, { detail: { path } });
    }
    // Who only reads the disk may make reference points; two at a time would not.
    if (access === 'write' && !lock(fd)) {
      throw new HvError('in-use', `${path} is in use by another process`, { detail: { path } });
    }
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return new FileStore(fd, path, { readOnly: access === 'read' });
}

/** A disk that is only read now may be written to later: its file is opened for both where that is allowed. */
function openForMost(path: string, access: 'read' | 'write'): number | undefined {
  const flags = constants.O_NONBLOCK | constants.O_NOFOLLOW | constants.O_NOCTTY;
  try {
    return openSync(path, constants.O_RDWR | flags);
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined;
    const mayRead = access === 'read' && isSystemError(error, 'EACCES', 'EPERM', 'EROFS');
    if (!mayRead) throw fromSystemError(error, `could not open ${path}`, { path });
  }
  try {
    return openSync(path, constants.O_RDONLY | flags);
  } catch (error) {
    throw fromSystemError(error, `could not open ${path}`, { path });
  }
}

/** On a file system without locks it is as good as held: the disk itself is not locked there either. */
function lock(fd: number): boolean {
  try {
    return lockFile(fd, 'exclusive');
  } catch (error) {
    if (isHvError(error, 'missing-dependency') || isHvError(error, 'io')) return true;
    throw error;
  }
}

/** Removes the tracking file of a disk that ends, or whose tracking does; nothing happens where there is none. */
export function removeTrackingFile(diskPath: string): boolean {
  const path = trackingPath(diskPath);
  try {
    unlinkSync(path);
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return false;
    throw fromSystemError(error, `could not remove ${path}`, { path });
  }
  syncFolder(dirname(path));
  return true;
}
