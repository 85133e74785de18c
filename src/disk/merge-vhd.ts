import { existsSync, lstatSync, realpathSync, statfsSync, unlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type LongOptions, throwIfAborted } from '../async/index.ts';
import { fromSystemError, HvError, isHvError, isSystemError } from '../errors/index.ts';
import type { DiskImage } from '../formats/disk-image.ts';
import { carryChanges } from './chain-changes.ts';
import { syncFolder } from './create-file.ts';
import { knownChildren } from './known-children.ts';
import { closeAll, mergeLayers } from './merge.ts';
import {
  type JournalFile,
  type MergeJournal,
  readMergeJournal,
  removeMergeJournal,
  writeMergeJournal,
} from './merge-journal.ts';
import { type ChainLayer, openImageChain } from './open-chain.ts';
import { openImageFile } from './open-file.ts';
import { openImage } from './open-image.ts';
import { mayHoldParent, resolveAllowed } from './parent-paths.ts';
import { readChain } from './read-chain.ts';
import { openToLook, readLink } from './read-link.ts';
import { relink } from './set-parent.ts';
import { removeTrackingFile } from './tracking-file.ts';

export interface MergeVhdOptions extends LongOptions {
  /** How many files are merged, from the named one on: 1 (default) is that file into its parent. */
  readonly depth?: number | undefined;
  /** Leave the merged files where they are. Default: they are removed, as Merge-VHD does. */
  readonly keepFiles?: boolean | undefined;
  /** Where parents may lie beside their children's own folders. */
  readonly allowParents?: readonly string[] | undefined;
  /** Check everything that can be checked, change nothing, and answer what would be done. */
  readonly dryRun?: boolean | undefined;
}

export interface MergeResult {
  /** The file that holds everything now. */
  readonly path: string;
  readonly mergedPaths: readonly string[];
  readonly removedPaths: readonly string[];
  /** Disks that stood on the named file and stand on the merged one now. */
  readonly relinkedPaths: readonly string[];
}

/**
 * Merges a differencing disk into its parent, or several files of its chain into the one below them. The last file keeps
 * its place and its disk id, and reads as the named one did; a larger disk makes it larger first. Disks in the folder
 * that stand on the named file stand on the merged one afterwards. What else stands on these files becomes invalid.
 *
 * May be cut short at any point (an abort, a crash) and run again: the disk reads the same at every moment, and a journal
 * beside the named file says what remains. An abort leaves it so.
 * Windows: MergeVirtualDisk with MergeSourceDepth and MergeTargetDepth (virtdisk.h), MergeVirtualHardDisk.
 * @throws HvError `invalid-state` (no differencing disk), `invalid-argument` (the depth), `in-use`, `no-space`,
 *   `parent-changed`, `not-found`, `corrupt`, `unsupported`, `io`, `aborted`
 */
export async function mergeVhd(path: string, options: MergeVhdOptions = {}): Promise<MergeResult> {
  throwIfAborted(options.signal, 'merging');
  const source = resolveSource(path);
  const journal = readMergeJournal(source);
  if (journal?.phase === 'finish' && isSettled(source, journal)) return finishLater(source, journal, options);
  return mergeFromStart(source, journal, options);
}

/** A file that a merge writes to or removes, and the file of the same chain that stands on it. */
export interface MergeStep {
  readonly path: string;
  /** Undefined for the source, whose children are taken care of. */
  readonly childPath: string | undefined;
  /** Removed at the end, unless the merged files are kept. */
  readonly isMerged: boolean;
}

/** The files that a merge changes, source first, for whoever must be asked first. None where only its end remains. */
export function mergeSteps(path: string, options: MergeVhdOptions = {}): MergeStep[] {
  const source = resolveSource(path);
  const journal = readMergeJournal(source);
  if (journal?.phase === 'finish' && isSettled(source, journal)) return [];
  const chain = readChain(source, { allowParents: options.allowParents ?? [] }).slice(0, (options.depth ?? 1) + 1);
  return chain.map((file, index) => ({
    path: file.path,
    childPath: chain[index - 1]?.path,
    isMerged: index < chain.length - 1,
  }));
}

/** A merge of that file that was begun and not brought to its end. */
export function unfinishedMerge(path: string): { readonly targetPath: string; readonly doneBytes: number } | undefined {
  const journal = readMergeJournal(path);
  return journal && { targetPath: journal.target.path, doneBytes: journal.doneBytes };
}

async function mergeFromStart(
  source: string,
  before: MergeJournal | undefined,
  options: MergeVhdOptions,
): Promise<MergeResult> {
  const { depth = 1, keepFiles = false, dryRun = false, signal } = options;
  if (!Number.isSafeInteger(depth) || depth < 1) {
    throw new HvError('invalid-argument', `a merge goes over 1 file or more; ${depth} is not`);
  }
  const childPaths = keepFiles ? [] : (await knownChildren(source, { signal })).paths;
  const layers = openImageChain(source, {
    readOnly: dryRun,
    allowParents: options.allowParents ?? [],
    signal,
    ...(dryRun ? {} : { writableDepths: [depth - 1, depth] }),
  });
  let isDone = false;
  try {
    const target = layers[depth];
    const mergedLayers = layers.slice(0, depth);
    if (!target) throw tooShort(source, layers.length, depth);
    mustHaveRoom(target, layers, depth);
    for (const child of childPaths) openImageFile(child, { access: dryRun ? 'read' : 'write' }).store.close();
    const result = resultOf(target.path, mergedLayers, childPaths, keepFiles);
    if (dryRun) return result;
    const start: MergeJournal = {
      version: 1,
      phase: 'copy',
      target: journalFile(target),
      merged: mergedLayers.map(journalFile),
      childPaths,
      keepFiles,
      doneBytes: 0,
    };
    const mayGoOn = before !== undefined && tellsWrites(target.image.format) && isSameWork(before, start);
    const fromOffset = mayGoOn ? before.doneBytes : 0;
    writeMergeJournal(source, { ...start, doneBytes: fromOffset });
    await mergeLayers(
      layers.slice(0, depth + 1).map(({ image }) => image),
      {
        ...options,
        fromOffset,
        onCheckpoint: (doneBytes) => {
          writeMergeJournal(source, { ...start, target: journalFile(target), doneBytes });
        },
      },
    );
    carryChanges(mergedLayers, target);
    writeMergeJournal(source, { ...start, phase: 'finish', target: journalFile(target) });
    finish(start, { path: target.path, contentId: target.image.contentId }, options);
    isDone = true;
    return result;
  } catch (error) {
    if (!isHvError(error, 'aborted')) throw error;
    throw new HvError('aborted', error.message, {
      detail: { ...error.detail, path: source },
      hint: 'Nothing is lost: the disk reads as before. Merge it again to go on.',
      cause: error,
    });
  } finally {
    if (isDone) {
      for (const { image } of [...layers].reverse()) await image.close();
      removeMergeJournal(source);
    } else {
      await closeAll(layers);
    }
  }
}

/** What remains once the target holds everything, with the files still open and locked. */
function finish(journal: MergeJournal, target: JournalFile, options: MergeVhdOptions): void {
  const { childPaths } = journal;
  for (const path of childPaths) relinkChild(path, journal.merged[0]?.contentId ?? '', target);
  const removedPaths = journal.keepFiles ? [] : journal.merged.map(({ path }) => path);
  options.onProgress?.({ phase: 'link', done: childPaths.length, total: childPaths.length });
  // The named file goes last: while it is there, it is a disk.
  for (const path of [...removedPaths].reverse()) {
    remove(path);
    removeTrackingFile(path);
  }
  options.onProgress?.({ phase: 'remove', done: removedPaths.length, total: removedPaths.length });
}

/** Finishes a merge that was cut short after its last byte was copied. */
function finishLater(source: string, journal: MergeJournal, options: MergeVhdOptions): MergeResult {
  const removedPaths = journal.keepFiles ? [] : journal.merged.map(({ path }) => path);
  const result: MergeResult = {
    path: journal.target.path,
    mergedPaths: journal.merged.map(({ path }) => path),
    removedPaths,
    relinkedPaths: journal.childPaths,
  };
  // A journal is a file like any other: it removes nothing but what can have been merged.
  const allowed = resolveAllowed(options.allowParents ?? []);
  for (const { path } of [journal.target, ...journal.merged]) mustBeNear(source, path, allowed);
  for (const path of journal.childPaths) mustBeNear(source, path, allowed);
  for (const file of journal.merged) mustBeMerged(file);
  if (options.dryRun === true) return result;
  const file = openImageFile(journal.target.path, { access: 'read' });
  try {
    const { contentId } = readLink(file.store);
    if (contentId !== journal.target.contentId && journal.childPaths.length > 0) {
      throw new HvError('parent-changed', `${file.path} was written after ${source} was merged into it`, {
        detail: { path: source, parentPath: file.path, expected: journal.target.contentId, found: contentId },
        hint: 'Link the disks that stood on it yourself, with hv vhd set-parent, and remove the merged files.',
      });
    }
    finish(journal, { path: file.path, contentId }, options);
  } finally {
    file.store.close();
  }
  removeMergeJournal(source);
  return result;
}

/** The file may be gone already, when only the end of its merge remains. */
function resolveSource(path: string): string {
  try {
    if (lstatSync(path, { throwIfNoEntry: false })) return realpathSync(path);
    return join(realpathSync(dirname(path)), basename(path));
  } catch (error) {
    throw fromSystemError(error, `could not open ${path}`, { path });
  }
}

/** Whether nobody wrote to the source since its last byte was copied. */
function isSettled(source: string, journal: MergeJournal): boolean {
  const [first] = journal.merged;
  if (first?.path !== source) return false;
  // Without all of its files nobody could open the disk to write to it.
  if (journal.merged.some(({ path }) => lstatSync(path, { throwIfNoEntry: false }) === undefined)) return true;
  const { file, inUse } = openToLook(source);
  try {
    const { format, contentId } = readLink(file.store, inUse);
    return tellsWrites(format) && contentId === first.contentId;
  } finally {
    file.store.close();
  }
}

/** A VHD's id stays the same when it is written to: there, what was copied may be old, and is copied again. */
function tellsWrites(format: DiskImage['format']): boolean {
  return format === 'vhdx';
}

/** Whether a journal tells of this very merge, with its files untouched since. */
function isSameWork(before: MergeJournal, now: MergeJournal): boolean {
  const files = ({ target, merged }: MergeJournal): string =>
    JSON.stringify([target, ...merged].map(({ path, contentId }) => [path, contentId]));
  return before.phase === 'copy' && files(before) === files(now);
}

function journalFile({ path, image }: ChainLayer): JournalFile {
  return { path, contentId: image.contentId };
}

function resultOf(
  path: string,
  merged: readonly ChainLayer[],
  relinkedPaths: readonly string[],
  keepFiles: boolean,
): MergeResult {
  const mergedPaths = merged.map((layer) => layer.path);
  return { path, mergedPaths, removedPaths: keepFiles ? [] : mergedPaths, relinkedPaths };
}

/** A disk that stands on the source stands on the target from now on; one that stands elsewhere is left alone. */
function relinkChild(path: string, sourceContentId: string, target: JournalFile): void {
  if (!existsSync(path)) return; // Gone, and with it what had to be linked.
  const file = openImageFile(path, { access: 'write' });
  let image: DiskImage;
  try {
    image = openImage(file.store, { readOnly: false });
  } catch (error) {
    file.store.close();
    throw error;
  }
  try {
    if (!image.parentReference?.linkages.includes(sourceContentId)) return;
    relink(image, target.contentId, file.path, target.path);
    image.seal();
  } finally {
    image.store.close();
  }
}

function mustBeNear(source: string, path: string, allowed: readonly string[]): void {
  let real = path;
  try {
    real = join(realpathSync(dirname(path)), basename(path));
  } catch (error) {
    if (!isSystemError(error, 'ENOENT', 'ENOTDIR')) throw fromSystemError(error, `could not find ${path}`, { path });
  }
  if (mayHoldParent(source, real, allowed)) return;
  throw new HvError('permission-denied', `the merge of ${source} leads to a file outside of its own folder: ${path}`, {
    detail: { path: source, leadsTo: path },
    hint: 'Allow it with --allow-parent, if that file is meant.',
  });
}

function mustBeMerged({ path, contentId }: JournalFile): void {
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return;
  const { file } = openToLook(path);
  try {
    const link = readLink(file.store);
    if (link.type === 'differencing' && link.contentId === contentId) return;
  } finally {
    file.store.close();
  }
  throw new HvError('invalid-state', `${path} is not the file that was merged, and is not removed`, {
    detail: { path },
    hint: 'Remove it yourself, if it is of no more use.',
  });
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT')) throw fromSystemError(error, `could not remove ${path}`, { path });
  }
  syncFolder(dirname(path));
}

function tooShort(source: string, fileCount: number, depth: number): HvError {
  if (fileCount === 1) {
    return new HvError('invalid-state', `${source} has no parent to be merged into`, { detail: { path: source } });
  }
  return new HvError('invalid-argument', `${source} has ${fileCount - 1} parents; none is ${depth} files above it`, {
    detail: { path: source, depth, parents: fileCount - 1 },
  });
}

/** What the target lacks room for is said before anything is touched: bytes that land where it holds none so far. */
function mustHaveRoom(target: ChainLayer, layers: readonly ChainLayer[], depth: number): void {
  const { blocks, bavail, bsize } = statfsSync(dirname(target.path));
  if (blocks === 0) return; // Some file systems do not count; a write says it there.
  const freeBytes = bavail * bsize;
  const neededBytes = newBytes(layers[0]?.image, target.image, depth, freeBytes);
  if (neededBytes <= freeBytes) return;
  throw new HvError(
    'no-space',
    `merging into ${target.path} needs more than ${freeBytes} bytes, which are free there`,
    {
      detail: { path: target.path, neededBytes, freeBytes },
    },
  );
}

/** Counts up to a limit, so that it ends early where the answer is clear. */
function newBytes(leaf: DiskImage | undefined, target: DiskImage, depth: number, limit: number): number {
  let sum = 0;
  for (const segment of leaf?.segments(0, leaf.sizeBytes) ?? []) {
    if (segment.depth >= depth || segment.kind !== 'data') continue;
    const end = Math.min(segment.offset + segment.length, target.sizeBytes);
    sum += segment.offset + segment.length - Math.max(segment.offset, end);
    if (end <= segment.offset) continue;
    for (const below of target.segments(segment.offset, end - segment.offset)) {
      if (below.kind !== 'data' || below.depth > 0) sum += below.length;
    }
    if (sum > limit) break;
  }
  return sum;
}
