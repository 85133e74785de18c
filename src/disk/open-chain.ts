import { realpathSync } from 'node:fs';
import { throwIfAborted } from '../async/index.ts';
import { fromSystemError, HvError, isSystemError } from '../errors/index.ts';
import type { DiskImage } from '../formats/disk-image.ts';
import { VhdxImage } from '../formats/vhdx/index.ts';
import { type OpenFile, openImageFile, type WriteAccess } from './open-file.ts';
import { type OpenImageOptions, openImage } from './open-image.ts';
import { liesIn, mayHoldParent, parentCandidates, resolveAllowed } from './parent-paths.ts';

/** More files than this in one chain are refused. */
export const MAX_CHAIN_DEPTH = 64;

export interface ChainLayer {
  readonly image: DiskImage;
  readonly path: string;
  readonly identity: string;
  /** Of a layer that is read, and may be written to later: by a merge under a running machine. */
  readonly writeAccess?: WriteAccess | undefined;
}

export interface OpenChainOptions {
  /** The leaf's format; its parents must have the same. Default: what its signature says. */
  readonly format?: DiskImage['format'] | undefined;
  readonly readOnly: boolean;
  /** Folders or files outside of a child's own folder where parents may lie. */
  readonly allowParents: readonly string[];
  readonly signal?: AbortSignal | undefined;
  /** How the leaf's parent is opened. Default `read`. */
  readonly parentAccess?: 'read' | 'write';
  /** Depths of further parents that are opened for writing; the leaf's parent is at 1. */
  readonly writableDepths?: readonly number[];
  /** Parents that may be merged into later, while the chain is open: these files, and what lies in these folders. */
  readonly mergeable?: readonly string[] | undefined;
}

/**
 * Opens an image file and all its parents, each linked to the next; leaf first.
 * @throws HvError `not-found` (a parent), `permission-denied` (a parent lies outside of what is allowed), `parent-changed`,
 *   `corrupt`, `in-use`, `unsupported` (the chain is too deep, or a parent has another format), `io`
 */
export function openImageChain(leafPath: string, options: OpenChainOptions): ChainLayer[] {
  const allowed = resolveAllowed(options.allowParents);
  const mergeable = options.readOnly ? [] : resolveAllowed(options.mergeable ?? []);
  const layers: ChainLayer[] = [];
  try {
    let file = openImageFile(leafPath, { access: options.readOnly ? 'read' : 'write' });
    for (;;) {
      const isLeaf = layers.length === 0;
      const readOnly = isLeaf ? options.readOnly : !writableParent(options, layers.length);
      layers.push(openLayer(file, { readOnly, format: isLeaf ? options.format : undefined }));
      const child = layers.at(-1);
      if (child?.image.type !== 'differencing') break;
      throwIfAborted(options.signal, 'opening the disk');
      if (layers.length === MAX_CHAIN_DEPTH) {
        throw new HvError('unsupported', `${leafPath} has more than ${MAX_CHAIN_DEPTH - 1} parents`, {
          detail: { path: leafPath, depth: layers.length },
        });
      }
      const isWritable = writableParent(options, layers.length);
      const accessTo = (path: string): 'read' | 'write' | 'later' => {
        if (isWritable) return 'write';
        return mergeable.some((entry) => liesIn(entry, path)) ? 'later' : 'read';
      };
      file = openParent(child, new Set(layers.map(({ identity }) => identity)), allowed, accessTo);
    }
    layers.forEach((layer, depth) => {
      const parent = layers[depth + 1];
      if (!parent) return;
      mustBeOfOneFormat(layer, parent);
      mustMatch(layer, parent);
      layer.image.setParent(parent.image);
    });
    return layers;
  } catch (error) {
    closeQuietly(layers);
    throw error;
  }
}

function writableParent(options: OpenChainOptions, depth: number): boolean {
  return (depth === 1 && options.parentAccess === 'write') || options.writableDepths?.includes(depth) === true;
}

/** Closes files that were opened in vain; nothing was written to them. */
export function closeQuietly(layers: readonly ChainLayer[]): void {
  for (const { image } of layers) {
    if (image instanceof VhdxImage) image.changes?.close();
    image.store.close();
  }
}

function openLayer(file: OpenFile, options: OpenImageOptions): ChainLayer {
  try {
    const { path, identity, writeAccess } = file;
    return { image: openImage(file.store, options), path, identity, writeAccess };
  } catch (error) {
    file.store.close();
    throw error;
  }
}

/** Finds and opens the parent that a child's locator names. Tries each place; the first whose identity fits is it. */
function openParent(
  child: ChainLayer,
  taken: ReadonlySet<string>,
  allowed: readonly string[],
  accessTo: (path: string) => 'read' | 'write' | 'later',
): OpenFile {
  const locator = child.image.parentReference;
  const candidates = locator ? parentCandidates(child.path, locator) : [];
  let refusal: HvError | undefined;
  for (const candidate of candidates) {
    const real = resolveLinks(candidate);
    if (real === undefined) continue;
    if (!mayHoldParent(child.path, real, allowed)) {
      refusal ??= new HvError('permission-denied', `${child.path} names a parent outside of its own folder: ${real}`, {
        detail: { path: child.path, parentPath: real },
        hint: `Allow it with --allow-parent, if that file is meant.`,
      });
      continue;
    }
    const file = openImageFile(real, { access: accessTo(real) });
    try {
      mustBeNew(child, file, taken);
      return file;
    } catch (error) {
      file.store.close();
      throw error;
    }
  }
  if (refusal) throw refusal;
  const where = candidates.length === 0 ? '' : `: ${candidates.join(', ')}`;
  throw new HvError('not-found', `the parent of ${child.path} is not there${where}`, {
    detail: { path: child.path, candidates, locator: Object.fromEntries(locator?.pairs ?? []) },
    hint: 'Put the parent where the child looks for it.',
  });
}

function resolveLinks(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw fromSystemError(error, `could not look for ${path}`, { path });
  }
}

function mustBeNew(child: ChainLayer, file: OpenFile, taken: ReadonlySet<string>): void {
  if (taken.has(file.identity)) {
    throw new HvError('corrupt', `${child.path} has itself among its parents: ${file.path}`, {
      detail: { path: child.path, parentPath: file.path, reason: 'chain-cycle', offset: 0, value: file.identity },
    });
  }
}

function mustBeOfOneFormat(child: ChainLayer, parent: ChainLayer): void {
  if (child.image.format === parent.image.format) return;
  const format = child.image.format.toUpperCase();
  throw new HvError('unsupported', `the parent of ${child.path} is not a ${format} file: ${parent.path}`, {
    detail: { path: child.path, parentPath: parent.path },
  });
}

/** A parent that was written to after its child was made no longer is what the child was made from. */
function mustMatch(child: ChainLayer, parent: ChainLayer): void {
  const linkages = child.image.parentReference?.linkages ?? [];
  const found = parent.image.contentId;
  if (!linkages.includes(found)) {
    throw new HvError('parent-changed', `${parent.path} was changed after its child ${child.path} was made from it`, {
      detail: { path: child.path, parentPath: parent.path, expected: [...linkages], found },
      hint: 'If it holds what the child was made from all the same, link them anew: hv vhd set-parent --ignore-mismatch.',
    });
  }
  const size = (layer: ChainLayer): number => layer.image.logicalSectorSizeBytes;
  if (size(child) !== size(parent)) {
    throw new HvError('corrupt', `${child.path} and its parent ${parent.path} have different sector sizes`, {
      detail: {
        path: child.path,
        parentPath: parent.path,
        reason: 'chain-sector-size',
        offset: 0,
        value: size(parent),
      },
    });
  }
}
