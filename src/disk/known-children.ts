import { type Dirent, opendirSync, realpathSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { type LongOptions, throwIfAborted } from '../async/index.ts';
import { fromSystemError, isHvError } from '../errors/index.ts';
import { type OpenFile, openImageFile } from './open-file.ts';
import { parentCandidates } from './parent-paths.ts';
import { type FileLink, readLink } from './read-link.ts';

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
  const parent = realPath(path);
  const { links, isComplete } = await readFolderLinks(dirname(parent), options);
  const paths = links.filter(({ parentPath }) => parentPath === parent).map((link) => link.path);
  return { paths: [...new Set(paths)], isComplete };
}

/** A differencing disk of a folder, and the file that its reference leads to. */
export interface FolderLink {
  /** Absolute, without links. */
  readonly path: string;
  readonly parentPath: string;
  readonly link: FileLink;
}

/** Every differencing disk among a folder's own files whose parent is somewhere, in the order of their names. */
export async function readFolderLinks(
  folder: string,
  options: KnownChildrenOptions = {},
): Promise<{ readonly links: readonly FolderLink[]; readonly isComplete: boolean }> {
  const { maxFiles = MAX_FILES, timeLimitMs = TIME_LIMIT_MS, signal } = options;
  const deadline = performance.now() + timeLimitMs;
  const { names, isComplete } = diskFiles(folder, maxFiles);
  const links: FolderLink[] = [];
  let looked = 0;
  for (const name of names) {
    throwIfAborted(signal, 'looking for children');
    if (performance.now() > deadline) break;
    looked++;
    const link = linkOf(join(folder, name));
    if (link) links.push(link);
    // Lets everything else in the process have its turn.
    if (looked % 16 === 0) await new Promise(setImmediate);
  }
  return { links, isComplete: isComplete && looked === names.length };
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

/** The first file that a neighbour's reference leads to is its parent. */
function linkOf(path: string): FolderLink | undefined {
  try {
    // Without a lock: a look at a whole folder must not get in the way of whoever opens a file of it.
    const file = openImageFile(path, { access: 'read', lock: false });
    try {
      const link = settledLink(file);
      const candidates = link.parentReference ? parentCandidates(file.path, link.parentReference) : [];
      for (const candidate of candidates) {
        const parentPath = realOrUndefined(candidate);
        if (parentPath !== undefined) return { path: file.path, parentPath, link };
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
function settledLink({ store }: OpenFile): FileLink {
  try {
    return readLink(store);
  } catch (error) {
    if (!isHvError(error, 'corrupt')) throw error;
    return readLink(store, true);
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
