import { realpathSync, statSync } from 'node:fs';
import { type LongOptions, throwIfAborted } from '../async/index.ts';
import { fromSystemError, HvError } from '../errors/index.ts';
import type { DiskImage } from '../formats/disk-image.ts';
import { VhdImage } from '../formats/vhd/index.ts';
import { replaceLocator, VhdxImage, withParent } from '../formats/vhdx/index.ts';
import { vhdParentFields } from './child-file.ts';
import { MAX_CHAIN_DEPTH } from './open-chain.ts';
import { type OpenFile, openImageFile } from './open-file.ts';
import { openImage } from './open-image.ts';
import { locatorPaths } from './parent-paths.ts';
import { type ChainFile, readChain } from './read-chain.ts';
import { type FileLink, readLink } from './read-link.ts';

export interface SetParentOptions extends Pick<LongOptions, 'signal'> {
  /** Link them even when the parent is not what the child was made from: that it holds the same is the caller's to know. */
  readonly ignoreMismatch?: boolean | undefined;
  /** The same, where it is certain that the contents do not change, as after a merge: they do not count as changed. */
  readonly holdsSame?: boolean | undefined;
  /** Where parents of the parent may lie, beside their children's own folders: they are looked through for the child. */
  readonly allowParents?: readonly string[] | undefined;
  /** Check everything, change nothing. */
  readonly dryRun?: boolean | undefined;
}

/**
 * Makes a differencing disk stand on a file: writes its identity and place into the child, as one. The child's parent may
 * have been moved, renamed, or be missing. Neither disk's contents are touched.
 * Windows: AddVirtualDiskParent, SetVirtualDiskInformation with SET_VIRTUAL_DISK_INFO_PARENT_PATH (virtdisk.h).
 * @throws HvError `parent-changed` (not what the child was made from), `invalid-state` (no differencing disk), `unsupported`
 *   (another format, or the chain would be too deep), `invalid-argument` (sizes differ, or the child is among the parents),
 *   `in-use`, `not-found`, `no-space`, `io`, `aborted`
 */
export async function setParent(childPath: string, parentPath: string, options: SetParentOptions = {}): Promise<void> {
  throwIfAborted(options.signal, 'setting the parent');
  // Both stay locked until the end, so that what was checked is what is written.
  const parentFile = openImageFile(parentPath, { access: 'read' });
  try {
    const parent = readLink(parentFile.store);
    mustBeNoLoop(fileAt(childPath), readChain(parentFile.path, { allowParents: options.allowParents ?? [] }));
    const childFile = openImageFile(childPath, { access: options.dryRun === true ? 'read' : 'write' });
    const child = openOrClose(childFile, options.dryRun === true);
    try {
      mustFit(child, childFile.path, parent, parentFile.path, options);
      if (options.dryRun !== true) {
        if (options.holdsSame !== true && isMismatch(child, parent)) noteAllChanged(child);
        relink(child, parent.contentId, childFile.path, parentFile.path);
      }
    } finally {
      await child.close();
    }
  } finally {
    parentFile.store.close();
  }
}

/** Writes another parent into an open child. Durable once the child is flushed or closed. */
export function relink(child: DiskImage, contentId: string, childPath: string, parentPath: string): void {
  if (child instanceof VhdImage) {
    child.replaceParent(vhdParentFields(childPath, parentPath, contentId, changeTimeOf(parentPath)));
    return;
  }
  if (!(child instanceof VhdxImage)) {
    throw new HvError('unsupported', `the parent of a ${child.format.toUpperCase()} file cannot be set`, {
      detail: { path: childPath },
    });
  }
  const pairs = child.parentReference?.pairs ?? [];
  replaceLocator(child, withParent(pairs, contentId, locatorPaths(childPath, parentPath)));
}

function changeTimeOf(path: string): number {
  try {
    return statSync(path).mtimeMs;
  } catch (error) {
    throw fromSystemError(error, `could not look at ${path}`, { path });
  }
}

function openOrClose({ store }: OpenFile, readOnly: boolean): DiskImage {
  try {
    return openImage(store, { readOnly });
  } catch (error) {
    store.close();
    throw error;
  }
}

function fileAt(path: string): Pick<OpenFile, 'path' | 'identity'> {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    return { path: realpathSync(path), identity: `${dev}:${ino}` };
  } catch (error) {
    throw fromSystemError(error, `could not open ${path}`, { path });
  }
}

function mustBeNoLoop(child: Pick<OpenFile, 'path' | 'identity'>, chain: readonly ChainFile[]): void {
  const [parent] = chain;
  if (parent?.identity === child.identity) {
    throw new HvError('invalid-argument', `${child.path} cannot be its own parent`, { detail: { path: child.path } });
  }
  const isAmong = chain.some(
    ({ identity, parent: above }) => identity === child.identity || above?.path === child.path,
  );
  if (isAmong) {
    throw new HvError('invalid-argument', `${child.path} is among the parents of ${parent?.path}`, {
      detail: { path: child.path, parentPath: parent?.path ?? null },
    });
  }
  if (chain.length >= MAX_CHAIN_DEPTH) {
    throw new HvError('unsupported', `${parent?.path} is the end of a chain that is as deep as one may be`, {
      detail: { path: child.path, parentPath: parent?.path ?? null, maxDepth: MAX_CHAIN_DEPTH },
    });
  }
}

function mustFit(
  child: DiskImage,
  childPath: string,
  parent: FileLink,
  parentPath: string,
  options: SetParentOptions,
): void {
  const detail = { path: childPath, parentPath };
  if (child.type !== 'differencing') {
    throw new HvError('invalid-state', `${childPath} is not a differencing disk`, { detail });
  }
  if (child.format !== parent.format) {
    throw new HvError('unsupported', `${parentPath} is not a ${child.format.toUpperCase()} file`, { detail });
  }
  const differs = child.logicalSectorSizeBytes !== parent.logicalSectorSizeBytes ? 'sector sizes' : 'sizes';
  // A VHD child has its parent's size; of a VHDX the child may be larger.
  const fits =
    child.format === 'vhd' ? child.sizeBytes === parent.virtualSizeBytes : child.sizeBytes >= parent.virtualSizeBytes;
  if (differs === 'sector sizes' || !fits) {
    throw new HvError('invalid-argument', `${parentPath} does not fit ${childPath}: their ${differs} differ`, {
      detail,
    });
  }
  if (options.ignoreMismatch === true || options.holdsSame === true || !isMismatch(child, parent)) return;
  const linkages = child.parentReference?.linkages ?? [];
  throw new HvError('parent-changed', `${parentPath} is not what ${childPath} was made from, or was written since`, {
    detail: { ...detail, expected: [...linkages], found: parent.contentId },
    hint: 'If it holds what the child was made from all the same, link them with --ignore-mismatch.',
  });
}

/** Whether the parent is not, by its identity, what the child was made from. */
function isMismatch(child: DiskImage, parent: FileLink): boolean {
  return !child.parentReference?.linkages.includes(parent.contentId);
}

function noteAllChanged(image: DiskImage): void {
  if (image instanceof VhdxImage) image.noteAllChanged();
}
