import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { fromSystemError, isSystemError } from '../errors/index.ts';
import { removeRecord, replaceRecord } from './record-file.ts';

const MAX_JOURNAL_BYTES = 1 << 20;

/** A file of a merge, so that it is known again. */
export interface JournalFile {
  readonly path: string;
  /** What its contents were called when this was written. */
  readonly contentId: string;
}

/**
 * Where a merge stands, in a file beside its source that only a whole merge removes. `copy`: the chain is as it was, and
 * what lies before `doneBytes` of the disk is in the target. `finish`: the target holds everything; what remains is to
 * link the children of the source with it and to remove the merged files.
 */
export interface MergeJournal {
  readonly version: 1;
  readonly phase: 'copy' | 'finish';
  readonly target: JournalFile;
  /** The source first, then the files between it and the target. */
  readonly merged: readonly JournalFile[];
  /** Disks that stood on the source. */
  readonly childPaths: readonly string[];
  readonly keepFiles: boolean;
  readonly doneBytes: number;
}

/** The journal of a merge whose source is that file. */
export function journalPathOf(sourcePath: string): string {
  return `${sourcePath}.hv-merge`;
}

/**
 * The merge that a file's journal tells of. What is no journal counts as none: a merge starts over from the files alone.
 * @throws HvError `permission-denied`, `io`
 */
export function readMergeJournal(sourcePath: string): MergeJournal | undefined {
  const path = journalPathOf(sourcePath);
  let text: string;
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile() || stat.size > MAX_JOURNAL_BYTES) return undefined;
      text = readFileSync(fd, 'utf8');
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO')) return undefined;
    throw fromSystemError(error, `could not read ${path}`, { path });
  }
  return parseMergeJournal(text);
}

/** Any text gives a journal or undefined. */
export function parseMergeJournal(text: string): MergeJournal | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isRecord(value) || value.version !== 1) return undefined;
  const { phase, target, merged, childPaths, keepFiles, doneBytes } = value;
  if (phase !== 'copy' && phase !== 'finish') return undefined;
  if (!isFile(target) || !Array.isArray(merged) || merged.length === 0 || !merged.every(isFile)) return undefined;
  if (!Array.isArray(childPaths) || !childPaths.every(isPath) || typeof keepFiles !== 'boolean') return undefined;
  if (!Number.isSafeInteger(doneBytes) || Number(doneBytes) < 0) return undefined;
  const files = merged.map(({ path, contentId }) => ({ path, contentId }));
  const { path, contentId } = target;
  return {
    version: 1,
    phase,
    target: { path, contentId },
    merged: files,
    childPaths,
    keepFiles,
    doneBytes: Number(doneBytes),
  };
}

/** Old or new, whole, and durable. @throws HvError `no-space`, `permission-denied`, `io` */
export function writeMergeJournal(sourcePath: string, journal: MergeJournal): void {
  replaceRecord(journalPathOf(sourcePath), `${JSON.stringify(journal)}\n`);
}

/** @throws HvError `permission-denied`, `io` */
export function removeMergeJournal(sourcePath: string): void {
  removeRecord(journalPathOf(sourcePath));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isPath(value: unknown): value is string {
  return typeof value === 'string' && isAbsolute(value) && !value.includes('\0');
}

function isFile(value: unknown): value is JournalFile {
  return isRecord(value) && isPath(value.path) && typeof value.contentId === 'string';
}
