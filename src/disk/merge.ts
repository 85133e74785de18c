import { type LongOptions, throttleProgress, throwIfAborted } from '../async/index.ts';
import { HvError, invariant } from '../errors/index.ts';
import type { DiskImage } from '../formats/disk-image.ts';
import { carryChanges } from './chain-changes.ts';
import { type ChainLayer, openImageChain } from './open-chain.ts';

const COPY_BYTES = 1 << 20;
/** A merge that is cut short does so much over again at most. */
const CHECKPOINT_BYTES = 256 << 20;

export interface MergeOptions extends LongOptions {
  /** Where parents may lie beside their children's own folders. */
  readonly allowParents?: readonly string[] | undefined;
}

/**
 * Copies what a differencing disk holds into its parent; afterwards the parent alone reads as the child did. The parent
 * keeps its file, its place and its disk id; the child stays, still valid above the parent, for the caller to delete.
 *
 * May be cut short at any point (an abort, a crash) and run again: the child hides from its users whatever the parent
 * holds by then. Before the parent's identity changes, the child learns the new one (parent_linkage2), so that at every
 * moment the two belong together. Other children of the parent become invalid: the caller knows that there are none.
 * @throws HvError `invalid-state` (no differencing disk), `in-use`, `no-space`, `io`, `aborted`, and as openVhd
 */
export async function mergeIntoParent(childPath: string, options: MergeOptions = {}): Promise<void> {
  const { signal } = options;
  throwIfAborted(signal, 'merging');
  const layers = openImageChain(childPath, {
    readOnly: false,
    allowParents: options.allowParents ?? [],
    signal,
    parentAccess: 'write',
  });
  let isDone = false;
  try {
    const [child, parent] = layers;
    invariant(child, 'an open chain has a leaf');
    if (!parent) {
      throw new HvError('invalid-state', `${child.path} has no parent to be merged into`, {
        detail: { path: child.path },
      });
    }
    await mergeImages(child.image, parent.image, options);
    carryChanges([child], parent);
    isDone = true;
  } finally {
    if (isDone) for (const { image } of [...layers].reverse()) await image.close();
    else await closeAll(layers);
  }
}

/** The merge itself, between two open files that belong together. Durable when it returns. */
export async function mergeImages(child: DiskImage, parent: DiskImage, options: LongOptions = {}): Promise<void> {
  await mergeLayers([child, parent], options);
}

export interface MergeLayersOptions extends LongOptions {
  /** Everything before this offset of the disk is in the last file already. */
  readonly fromOffset?: number | undefined;
  /** Called now and then, when everything before `offset` survives a power cut in the last file. */
  readonly onCheckpoint?: ((offset: number) => void) | undefined;
}

/**
 * Merges all files of a chain into its last one: open, linked with each other, leaf first; the last two for writing.
 * A leaf of another size gives the last file its own. Durable when it returns.
 */
export async function mergeLayers(layers: readonly DiskImage[], options: MergeLayersOptions = {}): Promise<void> {
  const [leaf, child, target] = [layers[0], layers.at(-2), layers.at(-1)];
  invariant(leaf && child && target && layers.length > 1, 'a merge has a file to merge and one to merge into');
  child.announceMerge(target);
  if (leaf.sizeBytes > target.sizeBytes) target.resize(leaf.sizeBytes);
  await copyContents(leaf, target, layers.length - 1, options);
  if (leaf.sizeBytes < target.sizeBytes) target.resize(leaf.sizeBytes);
  await target.flush();
}

/** Copies what the first `depth` files of a chain hold. */
async function copyContents(
  leaf: DiskImage,
  target: DiskImage,
  depth: number,
  options: MergeLayersOptions,
): Promise<void> {
  const { signal, fromOffset = 0, onCheckpoint } = options;
  const report = throttleProgress(options.onProgress);
  const total = leaf.sizeBytes;
  const buffer = new Uint8Array(COPY_BYTES);
  let sinceCheckpoint = 0;
  for (const segment of leaf.segments(fromOffset, total - fromOffset)) {
    throwIfAborted(signal, 'merging');
    const { offset, length, kind } = segment;
    // A hole of these files lies behind the end of the one below: it hides what the next one may hold there.
    if (segment.depth < depth && kind !== 'data') target.writeZeroes(offset, length, true);
    for (let done = 0; segment.depth < depth && kind === 'data' && done < length; done += COPY_BYTES) {
      const count = Math.min(COPY_BYTES, length - done);
      leaf.read(offset + done, buffer, 0, count);
      target.write(offset + done, buffer, 0, count);
      sinceCheckpoint += count;
      report({ phase: 'merge', done: offset + done + count, total });
      if (onCheckpoint && sinceCheckpoint >= CHECKPOINT_BYTES) {
        sinceCheckpoint = 0;
        await target.flush();
        onCheckpoint(offset + done + count);
      }
      // Lets an abort and everything else in the process have its turn.
      await new Promise(setImmediate);
      throwIfAborted(signal, 'merging');
    }
    report({ phase: 'merge', done: offset + length, total });
  }
}

/** After a failure: what is open is closed in order where that works; the first failure is the one to tell. */
export async function closeAll(layers: readonly ChainLayer[]): Promise<void> {
  for (const { image } of layers) await image.close().catch(() => undefined);
}
