import { closeSync, constants, fchmodSync, fsyncSync, openSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fromSystemError, isSystemError } from '../errors/index.ts';
import { syncFolder } from './new-file.ts';

/**
 * Small files beside a disk that say how far an operation is. Unlike other files that are replaced in one step, their
 * temporary file has a name that follows from theirs: what a crash left of it goes with the next record, or with the last.
 */

const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Old or new, whole, and durable. @throws HvError `no-space`, `permission-denied`, `io` */
export function replaceRecord(path: string, text: string, mode = 0o600): void {
  const temporary = temporaryOf(path);
  removeIfThere(temporary);
  try {
    const fd = openSync(temporary, NEW_FILE, 0o600);
    try {
      writeFileSync(fd, text);
      fchmodSync(fd, mode);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (error) {
    throw fromSystemError(error, `could not write ${path}`, { path });
  }
  syncFolder(dirname(path));
}

/** Removes it, durably, with what a crash left of it. @throws HvError `permission-denied`, `io` */
export function removeRecord(path: string): void {
  removeIfThere(temporaryOf(path));
  removeIfThere(path);
  syncFolder(dirname(path));
}

function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT')) throw fromSystemError(error, `could not remove ${path}`, { path });
  }
}

function temporaryOf(path: string): string {
  return `${path}.new`;
}
