import { type Dirent, opendirSync, realpathSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { type LongOptions, throwIfAborted } from '../async/index.ts';
import { fromSystemError, isHvError } from '../errors/index.ts';
import type { ParentReference } from '../formats/disk-image.ts';
import { type OpenFile, openImageFile } from './open-file.ts';
import { parentCandidates } from './parent-paths.ts';
import { readLink } from './read-link.ts';

/** Endings under which differencing disks are kept. */
const ENDINGS: ReadonlySet<string> = new Set(['.vhdx', '.avhdx', '.vhd', '.avhd']);

/** So many disk files of a folder are looked at, and for so long; a folder that holds more has its answer cut short. */
const MAX_FILES = 4096;
const TIME_LIMIT_MS = 5_000;

export interface KnownChildrenOptions extends Pick<LongOptions, 'signal'> {
  readonly maxFiles?: number | undefined;
  readonly timeLimitMs?: number | undefined;
}

export interface KnownChildren {
  /** Absolute, without links, in the order of their names. */
  readonly paths: readonly string[];
  /** False where the folder held more files than were looked at, or could not be listed. */
  readonly isComplete: boolean;
}

/**
 * The differencing disks in a file's own folder that name it as their parent. A neighbour that cannot be read, is no disk
 * or is broken is no child. Children elsewhere cannot be found this way.
 * @throws HvError `not-found` (the file), `aborted`
 */
export async function knownChildren(path: string, options: KnownChildrenOptions = {}): Promise<KnownChildren> {
  const { maxFiles = MAX_FILES, timeLimitMs = TIME_LIMIT_MS, signal } = options;
  const parent = realPath(path);
  const deadline = performance.now() + timeLimitMs;
  const { names, isComplete } = diskFiles(dirname(parent), maxFiles);
  const found = new Set<string>();
  let looked = 0;
  for (const name of names) {
    throwIfAborted(signal, 'looking for children');
    if (performance.now() > deadline) break;
    looked++;
    const child = childOf(join(dirname(parent), name), parent);
    if (child !== undefined) found.add(child);
    // Lets everything else in the process have its turn.
    if (looked % 16 === 0) await new Promise(setImmediate);
  }
  return { paths: [...found], isComplete: isComplete && looked === names.length };
}

function diskFiles(folder: string, limit: number): { names: string[]; isComplete: boolean } {
  const names: string[] = [];
  try {
    const entries = opendirSync(folder);
    try {
      for (let entry: Dirent | null = entries.readSync(); entry; entry = entries.readSync()) {
        if (!ENDINGS.has(extname(entry.name).toLowerCase()) || entry.isDirectory()) continue;
        if (names.length === limit) return { names: names.sort(), isComplete: false };
        names.push(entry.name);
      }
    } finally {
      entries.closeSync();
    }
  } catch {
    return { names: [], isComplete: false }; // A folder that may be passed through but not listed.
  }
  return { names: names.sort(), isComplete: true };
}

/** The path of a neighbour when it is a child of that parent: the first file that its reference leads to is it. */
function childOf(path: string, parent: string): string | undefined {
  try {
    // Without a lock: a look at a whole folder must not get in the way of whoever opens a file of it.
    const file = openImageFile(path, { access: 'read', lock: false });
    try {
      if (file.path === parent) return undefined;
      const reference = referenceOf(file);
      if (!reference) return undefined;
      for (const candidate of parentCandidates(file.path, reference)) {
        const real = realOrUndefined(candidate);
        if (real !== undefined) return real === parent ? file.path : undefined;
      }
      return undefined;
    } finally {
      file.store.close();
    }
  } catch (error) {
    if (isHvError(error)) return undefined; // Broken, not to be read, or gone meanwhile: it is nobody's child.
    throw error;
  }
}

/** A log that changes while it is read may look broken: then what lies in its place already is the answer. */
function referenceOf({ store }: OpenFile): ParentReference | undefined {
  try {
    return readLink(store).parentReference;
  } catch (error) {
    if (!isHvError(error, 'corrupt')) throw error;
    return readLink(store, true).parentReference;
  }
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    throw fromSystemError(error, `could not open ${path}`, { path });
  }
}

function realOrUndefined(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined; // Not there, or not to be seen: the next place may be.
  }
}
