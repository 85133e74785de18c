import { realpathSync } from 'node:fs';
import { dirname } from 'node:path';
import { type LongOptions, throwIfAborted } from '../async/index.ts';
import type { DiskType } from '../formats/disk-image.ts';
import { type DiskFormat, formatOf, isVhdSet } from './disk-format.ts';
import { type FolderLink, readFolderLinks } from './known-children.ts';
import { MAX_CHAIN_DEPTH } from './open-chain.ts';
import { type LinkState, readChain } from './read-chain.ts';
import { openToLook } from './read-link.ts';
import { onVhdSetLeaf } from './vhd-set-store.ts';

/** A file of a chain, as plain data. */
export interface DependencyFile {
  readonly path: string;
  readonly format: DiskFormat;
  readonly type: DiskType | 'raw';
  readonly virtualSizeBytes: number;
  readonly virtualDiskId: string | null;
  /** What its children record: a VHDX's DataWriteGuid, a VHD's unique id. */
  readonly contentId: string | null;
  /** Another process has it open for writing. */
  readonly inUse: boolean;
  /** How it stands to its parent; null where it has none. */
  readonly parentState: LinkState | null;
  /** Where the parent lies; where it is not there, what the file says of it. */
  readonly parentPath: string | null;
}

/** A differencing disk that stands on the one above it in the tree. */
export interface DependentFile {
  readonly path: string;
  /** Whether what it stands on is what it was made from. */
  readonly parentState: 'ok' | 'changed';
  readonly children: readonly DependentFile[];
}

/** On what a disk stands, and what stands on it. */
export interface DiskDependencies {
  /** The file itself first, then its parent, and so on as far as the chain can be followed. */
  readonly chain: readonly DependencyFile[];
  /** The disks of its folder that stand on it. */
  readonly children: readonly DependentFile[];
  /** False where the folder holds more than was looked at. */
  readonly childrenComplete: boolean;
}

export interface DependenciesOptions extends Pick<LongOptions, 'signal'> {
  readonly format?: DiskFormat | undefined;
  /** Where parents may lie beside their children's own folders; elsewhere they are named and not opened. */
  readonly allowParents?: readonly string[] | undefined;
}

/**
 * Tells on which files a disk stands and which stand on it; of a VHD Set, the disk that it has now. Opens nothing for writing; works while the disk is in use.
 * Windows: GetStorageDependencyInformation (virtdisk.h).
 * @throws HvError `not-found`, `permission-denied`, `corrupt`, `unsupported`, `io`, `aborted`
 */
export async function diskDependencies(path: string, options: DependenciesOptions = {}): Promise<DiskDependencies> {
  throwIfAborted(options.signal, 'reading the chain');
  if (isVhdSet(path, options.format)) {
    return onVhdSetLeaf(path, options, (leafPath, allowParents) =>
      diskDependencies(leafPath, { ...options, format: 'vhdx', allowParents }),
    );
  }
  const chain = formatOf(path, options.format) === 'raw' ? [rawFile(path)] : blockFiles(path, options);
  const self = realpathSync(path);
  const { links, isComplete } = await readFolderLinks(dirname(self), { signal: options.signal });
  const contentId = chain[0]?.contentId ?? null;
  return { chain, children: dependentsOf(self, contentId, links, 0), childrenComplete: isComplete };
}

function blockFiles(path: string, options: DependenciesOptions): DependencyFile[] {
  return readChain(path, { allowParents: options.allowParents ?? [] }).map((file) => ({
    path: file.path,
    format: file.format,
    type: file.type,
    virtualSizeBytes: file.virtualSizeBytes,
    virtualDiskId: file.virtualDiskId,
    contentId: file.contentId,
    inUse: file.inUse,
    parentState: file.parent?.state ?? null,
    parentPath: file.parent?.path ?? null,
  }));
}

function rawFile(path: string): DependencyFile {
  const { file, inUse } = openToLook(path);
  try {
    const virtualSizeBytes = file.store.size();
    const none = { virtualDiskId: null, contentId: null, parentState: null, parentPath: null };
    return { path: file.path, format: 'raw', type: 'raw', virtualSizeBytes, inUse, ...none };
  } finally {
    file.store.close();
  }
}

function dependentsOf(
  parentPath: string,
  contentId: string | null,
  links: readonly FolderLink[],
  depth: number,
): DependentFile[] {
  if (depth >= MAX_CHAIN_DEPTH) return []; // Deeper than any chain: files that name each other in a circle.
  return links
    .filter((link) => link.parentPath === parentPath && link.path !== parentPath)
    .map(({ path, link }) => ({
      path,
      parentState: link.parentReference?.linkages.includes(contentId ?? '') ? 'ok' : 'changed',
      children: dependentsOf(path, link.contentId, links, depth + 1),
    }));
}
