import { statSync } from 'node:fs';
import { throwIfAborted } from '../async/index.ts';
import { fromSystemError, HvError, invariant } from '../errors/index.ts';
import { type CompactImageOptions, compactImage, type Freed } from './compaction.ts';
import { DiskChain } from './disk-chain.ts';
import { formatOf, isVhdSet } from './disk-format.ts';
import { type ChainLayer, openImageChain } from './open-chain.ts';
import { lockVhdSetLeaf } from './vhd-set-store.ts';
import type { Volume } from './volumes/find-volumes.ts';

export interface CompactOptions extends CompactImageOptions {
  /** Where parents may lie beside their children's own folders. */
  readonly allowParents?: readonly string[] | undefined;
}

/** A volume in the disk, and whether its free space was given back. */
export interface CompactedVolume {
  readonly offset: number;
  readonly sizeBytes: number;
  readonly kind: Volume['kind'];
  readonly state: Volume['state'];
  readonly freeBytes: number | null;
  readonly used: boolean;
  /** Why it was left alone; empty where it was not. */
  readonly why: string;
}

export interface CompactResult extends Freed {
  readonly path: string;
  /** The file's length; what it takes of its host may be less. Of a dry run the same before and after. */
  readonly fileSizeBytesBefore: number;
  readonly fileSizeBytesAfter: number;
  readonly allocatedBytesBefore: number;
  readonly allocatedBytesAfter: number;
  readonly volumes: readonly CompactedVolume[];
}

/**
 * Makes the file of a dynamic or differencing disk smaller: gives back blocks that hold only zeros, space of blocks that
 * are not in use, and what the file systems in the disk hold free, where those were unmounted in order; then moves the
 * file's last blocks into the gaps and cuts it. What files in the disk hold never changes; of a child nothing of its
 * parent's shows that did not before. An abort leaves a whole disk, compacted in part.
 * Windows: CompactVirtualDisk (virtdisk.h), which looks into NTFS alone.
 * @throws HvError `unsupported` (a raw or fixed disk), `not-found`, `in-use`, `corrupt`, `parent-changed`, `permission-denied`,
 *   `no-space`, `io`, `aborted`
 */
export async function compactVhd(path: string, options: CompactOptions = {}): Promise<CompactResult> {
  const { signal, dryRun = false } = options;
  throwIfAborted(signal, 'compacting');
  const layers = openLayers(path, options);
  const disk = new DiskChain(layers);
  let isDone = false;
  try {
    const [leaf, parent] = layers;
    invariant(leaf, 'an open chain has a leaf');
    if (leaf.image.type === 'fixed') {
      throw new HvError('unsupported', `${path} is a fixed disk, which keeps all of its space`, {
        detail: { path },
        hint: 'Convert it to a dynamic disk to save space.',
      });
    }
    const before = sizesOf(leaf.path);
    const { volumes, ...freed } = await compactImage(leaf.image, parent?.image, options);
    isDone = true;
    if (!dryRun) leaf.image.seal();
    const after = sizesOf(leaf.path);
    return {
      path: leaf.path,
      ...freed,
      fileSizeBytesBefore: before.sizeBytes,
      fileSizeBytesAfter: after.sizeBytes,
      allocatedBytesBefore: before.allocatedBytes,
      allocatedBytesAfter: after.allocatedBytes,
      volumes: volumes.map(({ offset, sizeBytes, kind, state, freeBytes, why }) => ({
        offset,
        sizeBytes,
        kind,
        state,
        freeBytes,
        used: state === 'clean',
        why,
      })),
    };
  } finally {
    if (isDone) await disk.close();
    // What went wrong first is the one to tell.
    else await disk.close().catch(() => undefined);
  }
}

/** The files of a disk, leaf first; of a VHD Set those of the disk that it has now. */
function openLayers(path: string, options: CompactOptions, said?: 'vhdx'): ChainLayer[] {
  const { signal, dryRun = false, allowParents = [] } = options;
  if (isVhdSet(path, said)) {
    // The set stays locked until its disk is: nobody makes another file the leaf in between.
    const leaf = lockVhdSetLeaf(path, { allowParents });
    try {
      return openLayers(leaf.path, { ...options, allowParents: leaf.allowParents }, 'vhdx');
    } finally {
      leaf.release();
    }
  }
  const format = formatOf(path, said);
  if (format === 'raw') {
    throw new HvError('unsupported', `${path} is a raw disk, which has no blocks to give back`, { detail: { path } });
  }
  return openImageChain(path, { format, readOnly: dryRun, allowParents, signal });
}

function sizesOf(path: string): { readonly sizeBytes: number; readonly allocatedBytes: number } {
  try {
    const { size, blocks } = statSync(path);
    return { sizeBytes: size, allocatedBytes: blocks * 512 };
  } catch (error) {
    throw fromSystemError(error, `could not look at ${path}`, { path });
  }
}
