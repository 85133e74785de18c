import { type LongOptions, throttleProgress, throwIfAborted } from '../async/index.ts';
import { HvError, invariant } from '../errors/index.ts';
import type { DiskImage } from '../formats/disk-image.ts';
import { type ChainLayer, openImageChain } from './open-chain.ts';

const COPY_BYTES = 1 << 20;

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
 * @throws HvError `invalid-state` (no differencing disk), `unsupported` (the child is larger), `in-use`, `no-space`, `io`, `aborted`, and as openVhd
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
    if (child.image.sizeBytes > parent.image.sizeBytes) {
      throw new HvError('unsupported', `${child.path} is larger than its parent ${parent.path}`, {
        detail: { path: child.path, parentPath: parent.path },
        hint: 'Resize the parent first.',
      });
    }
    await mergeImages(child.image, parent.image, options);
    isDone = true;
  } finally {
    if (isDone) for (const { image } of [...layers].reverse()) await image.close();
    else await closeAll(layers);
  }
}

/** The merge itself, between two open files that belong together. Durable when it returns. */
export async function mergeImages(child: DiskImage, parent: DiskImage, options: LongOptions = {}): Promise<void> {
  child.announceMerge(parent);
  await copyContents(child, parent, options);
  await parent.flush();
}

async function copyContents(child: DiskImage, parent: DiskImage, options: LongOptions): Promise<void> {
  const report = throttleProgress(options.onProgress);
  const total = child.sizeBytes;
  const buffer = new Uint8Array(COPY_BYTES);
  for (const { offset, length, kind, depth } of child.segments(0, total)) {
    if (depth === 0 && kind === 'zero') parent.writeZeroes(offset, length, true);
    if (depth === 0 && kind === 'data') {
      for (let done = 0; done < length; done += COPY_BYTES) {
        const count = Math.min(COPY_BYTES, length - done);
        child.read(offset + done, buffer, 0, count);
        parent.write(offset + done, buffer, 0, count);
        report({ phase: 'merge', done: offset + done + count, total });
        // Lets an abort and everything else in the process have its turn.
        await new Promise(setImmediate);
        throwIfAborted(options.signal, 'merging');
      }
    }
    report({ phase: 'merge', done: offset + length, total });
  }
}

/** After a failure: what is open is closed in order where that works; the first failure is the one to tell. */
async function closeAll(layers: readonly ChainLayer[]): Promise<void> {
  for (const { image } of layers) await image.close().catch(() => undefined);
}
