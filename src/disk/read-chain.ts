import { realpathSync } from 'node:fs';
import { type HvError, isHvError } from '../errors/index.ts';
import { MAX_CHAIN_DEPTH } from './open-chain.ts';
import { mayHoldParent, parentCandidates, resolveAllowed, saidParent } from './parent-paths.ts';
import { type FileLink, openToLook, readLink } from './read-link.ts';

/**
 * How a differencing disk stands to the file that it names:
 * `ok`: it is there and is what the child was made from; `changed`: it was written since; `missing`: it is nowhere;
 * `not-allowed`: it lies outside of the child's folder and of what the caller allows, and was not opened;
 * `unreadable`: it is no disk of the child's format, broken, or may not be read; `cycle`: it is one of the files before;
 * `too-deep`: the chain has as many files as one may have.
 */
export type LinkState = 'ok' | 'changed' | 'missing' | 'not-allowed' | 'unreadable' | 'cycle' | 'too-deep';

/** A file of a chain, and how it stands to its parent. */
export interface ChainFile extends FileLink {
  /** Absolute, without links. */
  readonly path: string;
  readonly identity: string;
  /** Another process has it open for writing. */
  readonly inUse: boolean;
  /** Undefined where it has none. */
  readonly parent: ParentLink | undefined;
}

export interface ParentLink {
  readonly state: LinkState;
  /** Where it lies; where it is not there, what the child says of it. */
  readonly path: string | null;
  /** For `unreadable`: why. */
  readonly error?: HvError;
}

/**
 * Reads who is whose parent, from a file upward, as far as it can be followed; leaf first. A chain that is broken ends
 * with the file whose parent cannot be followed, and the state that says why.
 * @throws HvError `not-found`, `permission-denied`, `corrupt`, `unsupported`, `io`: about the first file alone
 */
export function readChain(leafPath: string, options: { readonly allowParents?: readonly string[] } = {}): ChainFile[] {
  const allowed = resolveAllowed(options.allowParents ?? []);
  const files: ChainFile[] = [];
  let next: Opened | undefined = look(leafPath);
  while (next) {
    const here: Opened = next;
    const taken = new Set([...files.map(({ identity }) => identity), here.identity]);
    const { link, above } = followParent(here, taken, allowed);
    files.push({ ...here, parent: link });
    next = above;
  }
  return files;
}

type Opened = Omit<ChainFile, 'parent'>;

function look(path: string): Opened {
  const { file, inUse } = openToLook(path);
  try {
    return { ...readLink(file.store, inUse), path: file.path, identity: file.identity, inUse };
  } finally {
    file.store.close();
  }
}

function followParent(
  child: Opened,
  taken: ReadonlySet<string>,
  allowed: readonly string[],
): { readonly link: ParentLink | undefined; readonly above?: Opened } {
  const reference = child.parentReference;
  if (!reference) return { link: undefined };
  const there = parentCandidates(child.path, reference).flatMap((candidate) => realOrUndefined(candidate) ?? []);
  const found = there.find((path) => mayHoldParent(child.path, path, allowed));
  if (found === undefined) {
    const [outside] = there;
    if (outside !== undefined) return { link: { state: 'not-allowed', path: outside } };
    return { link: { state: 'missing', path: saidParent(reference) } };
  }
  let above: Opened;
  try {
    above = look(found);
  } catch (error) {
    if (!isHvError(error)) throw error;
    if (error.code === 'not-found') return { link: { state: 'missing', path: found } };
    return { link: { state: 'unreadable', path: found, error } };
  }
  if (taken.has(above.identity)) return { link: { state: 'cycle', path: found } };
  if (above.format !== child.format) return { link: { state: 'unreadable', path: found } };
  if (taken.size >= MAX_CHAIN_DEPTH) return { link: { state: 'too-deep', path: found } };
  const state = reference.linkages.includes(above.contentId) ? 'ok' : 'changed';
  return { link: { state, path: found }, above };
}

function realOrUndefined(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined; // Not there, or not to be seen: the next place may be.
  }
}
