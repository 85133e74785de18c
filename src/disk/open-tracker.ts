import { isHvError } from '../errors/index.ts';
import { ChangeTracker } from '../formats/rct/index.ts';
import { FileStore } from '../store/index.ts';
import { openTrackingFile } from './tracking-file.ts';

/**
 * The tracker of a disk that is about to be opened, or undefined where its changes are not tracked. A tracking file that
 * cannot be used does not keep the disk from being opened: written to without it, the disk no longer fits the file.
 */
export function openTracker(diskPath: string, access: 'read' | 'write'): ChangeTracker | undefined {
  try {
    return mustOpenTracker(diskPath, access);
  } catch (error) {
    if (!isHvError(error)) throw error;
    return undefined;
  }
}

/** The same, for who wants to know why not. @throws HvError `corrupt`, `permission-denied`, `io` */
export function mustOpenTracker(diskPath: string, access: 'read' | 'write'): ChangeTracker | undefined {
  const store = openTrackingFile(diskPath, access);
  if (!store) return undefined;
  try {
    return ChangeTracker.open(store);
  } catch (error) {
    store.close();
    throw error;
  }
}

/**
 * The tracker for a disk that was only read until now and is written to from here on, in place of the one that it had:
 * the file that is open is used on, because this process may not have the right to open it again.
 */
export function trackerForWriting(present: ChangeTracker): ChangeTracker | undefined {
  const { fd } = present.store;
  if (fd === undefined) return undefined;
  const store = new FileStore(fd, present.name, { readOnly: false });
  try {
    return ChangeTracker.open(store);
  } catch (error) {
    store.close();
    if (!isHvError(error)) throw error;
    return undefined;
  }
}
