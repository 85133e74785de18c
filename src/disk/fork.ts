import { statfsSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { type LongOptions, throttleProgress, throwIfAborted } from '../async/index.ts';
import { fromSystemError, HvError, invariant } from '../errors/index.ts';
import type { DiskImage } from '../formats/disk-image.ts';
import { inheritableItems, VhdxImage } from '../formats/vhdx/index.ts';
import { childOf } from './child-file.ts';
import { checkedImage, type NewImage, writeNewImage } from './create-file.ts';
import { type CopyRun, type CopySource, FollowingCopy } from './following-copy.ts';
import { failureOf, NewFile } from './new-file.ts';
import { type ChainLayer, closeQuietly, openImageChain } from './open-chain.ts';
import { type OpenFile, openImageFile } from './open-file.ts';
import { openImage } from './open-image.ts';
import { readLink } from './read-link.ts';
import { removeTrackingFile } from './tracking-file.ts';
import { type VhdInfo, vhdInfo } from './vhd-info.ts';

/**
 * A second branch of a disk in the making: a copy of the upper files of an open chain, in one new file that stands on the
 * same parent. The disk goes on meanwhile: whoever writes to it tells `copy`, which repeats behind its position. The new
 * file has no name until it is whole. Ends with complete() or abandon().
 *
 *     original:  leaf <- ... <- parent        fork:  new <- parent
 */
export class DiskFork {
  /** Where the new file will lie. */
  readonly path: string;
  readonly copy: FollowingCopy;
  readonly #file: NewFile;
  readonly #image: DiskImage;
  readonly #sizeBytes: () => number;

  /**
   * @param layers an open chain, leaf first
   * @param depth how many of its files go into the new one; the next is its parent, or it has none
   * @param replaces an open and locked file in whose place the new one comes when it is whole
   * @throws HvError `already-exists` (on complete), `not-found`, `permission-denied`, `invalid-argument`, `no-space`, `io`
   */
  constructor(layers: readonly ChainLayer[], path: string, depth = 1, replaces?: OpenFile) {
    const leaf = layers[0];
    const parent = layers[depth];
    invariant(leaf && layers.length >= depth, 'a fork copies files that its chain has');
    const old = replaces && { path: replaces.path, fd: replaces.store.fd };
    this.#file = new NewFile(path, { replaces: old });
    this.path = this.#file.path;
    try {
      writeNewImage(this.#file.store, checkedImage(forkImage(resolve(this.path), leaf.image, parent, depth)));
      this.#image = openImage(this.#file.store, { readOnly: false, format: leaf.image.format });
      if (parent) this.#image.setParent(parent.image);
    } catch (error) {
      this.#file.discard();
      throw failureOf(this.path, error);
    }
    this.copy = new FollowingCopy(new UpperFiles(leaf.image, depth), this.#image, { isTargetBlank: !parent });
    this.#sizeBytes = () => leaf.image.sizeBytes;
  }

  /** Copies the next slice. @throws HvError `io`, `no-space`, `corrupt` */
  step(): void {
    try {
      this.copy.step();
    } catch (error) {
      throw failureOf(this.path, error);
    }
  }

  /** Most of what makes the new file durable, where it holds nobody up. */
  flush(): Promise<void> {
    return this.#image.flush();
  }

  /**
   * Gives the whole copy its name, durable. It stays open for writing, and locked: the caller goes on in it, in the
   * original's place, or closes it.
   * @throws HvError `already-exists`, `invalid-state` (the disk was resized meanwhile), `no-space`, `io`; then nothing is left
   */
  complete(): ChainLayer {
    invariant(this.copy.isComplete, 'a fork ends when everything is copied');
    try {
      if (this.#sizeBytes() !== this.#image.sizeBytes) {
        throw new HvError('invalid-state', `the disk was resized while ${this.path} was made from it`);
      }
      this.#image.flushSync();
      const { path, identity } = this.#file.publish();
      return { image: this.#image, path, identity };
    } catch (error) {
      this.abandon();
      throw failureOf(this.path, error);
    }
  }

  /** Nothing is left of the new file. Nothing happens once it is complete. */
  abandon(): void {
    this.#file.discard();
  }
}

function forkImage(path: string, leaf: DiskImage, parent: ChainLayer | undefined, depth: number): NewImage {
  const { sizeBytes, logicalSectorSizeBytes, physicalSectorSizeBytes } = leaf;
  const blockSizeBytes = leaf.blockSizeBytes ?? undefined;
  const inheritedItems = leaf instanceof VhdxImage ? inheritableItems(leaf) : [];
  if (parent) {
    const child = childOf(path, parent, { sizeBytes, blockSizeBytes, physicalSectorSizeBytes });
    return child.format === 'vhdx' ? { format: 'vhdx', spec: { ...child.spec, inheritedItems } } : child;
  }
  const type = depth === 1 && leaf.type === 'fixed' ? 'fixed' : 'dynamic';
  if (leaf.format === 'vhd') return { format: 'vhd', spec: { type, virtualSizeBytes: sizeBytes, blockSizeBytes } };
  const sectors = { logicalSectorSizeBytes, physicalSectorSizeBytes };
  const { virtualDiskId } = leaf;
  return {
    format: 'vhdx',
    spec: { type, virtualSizeBytes: sizeBytes, blockSizeBytes, ...sectors, virtualDiskId, inheritedItems },
  };
}

/** What the upper files of a chain hold. */
class UpperFiles implements CopySource {
  readonly #leaf: DiskImage;
  readonly #depth: number;

  constructor(leaf: DiskImage, depth: number) {
    this.#leaf = leaf;
    this.#depth = depth;
  }

  get sizeBytes(): number {
    return this.#leaf.sizeBytes;
  }

  read(offset: number, target: Uint8Array, targetStart: number, length: number): void {
    this.#leaf.read(offset, target, targetStart, length);
  }

  *runs(offset: number, length: number): Generator<CopyRun> {
    for (const segment of this.#leaf.segments(offset, length)) {
      const isOurs = segment.depth < this.#depth;
      const kind = !isOurs ? 'other' : segment.kind === 'data' ? 'data' : 'zero';
      yield { offset: segment.offset, length: segment.length, kind };
    }
  }
}

export interface ForkVhdOptions extends LongOptions {
  /** How many files of the chain go into the new one, the named one first (default 1). */
  readonly depth?: number | undefined;
  /**
   * The new file is there already: a disk of the same format and size, whose contents, parent and file are given up. Its
   * name stays with it until the new one is whole. Windows: FORK_VIRTUAL_DISK_FLAG_EXISTING_FILE.
   */
  readonly existing?: boolean | undefined;
  /** Where parents may lie beside their children's own folders. */
  readonly allowParents?: readonly string[] | undefined;
  /** Check everything that can be checked and make nothing. */
  readonly dryRun?: boolean | undefined;
}

/**
 * Makes a second branch of a disk: a new file that stands on the same parent and holds what this one holds. Both go on by
 * themselves from there. The new file is whole and durable under its name, or not there at all; with `existing`, the old
 * file is there as it was until then. The disk itself is only read.
 * Windows: ForkVirtualDisk and CompleteForkVirtualDisk (virtdisk.h).
 * @throws HvError `already-exists`, `not-found`, `in-use`, `invalid-argument`, `parent-changed`, `corrupt`, `unsupported`,
 *   `no-space`, `permission-denied`, `io`, `aborted`
 */
export async function forkVhd(path: string, newPath: string, options: ForkVhdOptions = {}): Promise<VhdInfo> {
  const { depth = 1, signal, dryRun = false } = options;
  throwIfAborted(signal, 'forking the disk');
  const allowParents = options.allowParents ?? [];
  const layers = openImageChain(path, { readOnly: true, allowParents, signal });
  try {
    if (!Number.isSafeInteger(depth) || depth < 1 || depth > layers.length) {
      throw new HvError('invalid-argument', `${path} has ${layers.length} files; ${depth} cannot be copied`, {
        detail: { path, depth, files: layers.length },
      });
    }
    const old = options.existing === true ? openReplaced(newPath, layers) : undefined;
    const fork = forkOver(layers, newPath, depth, old);
    try {
      mustHaveRoom(fork.path, layers, depth);
      if (dryRun) return { ...(await vhdInfo(path, { allowParents })), path: fork.path };
      await copyAll(fork, options);
      const made = fork.complete();
      if (old) removeTrackingFile(made.path);
      await made.image.close();
      return await vhdInfo(made.path, { allowParents });
    } finally {
      fork.abandon();
      old?.store.close();
    }
  } finally {
    closeQuietly(layers);
  }
}

function forkOver(layers: readonly ChainLayer[], path: string, depth: number, old: OpenFile | undefined): DiskFork {
  try {
    return new DiskFork(layers, old?.path ?? path, depth, old);
  } catch (error) {
    old?.store.close();
    throw error;
  }
}

/** The file whose place a fork takes, locked. @throws HvError `not-found`, `in-use`, `invalid-argument` (it does not fit), `corrupt`, `permission-denied`, `io` */
function openReplaced(path: string, layers: readonly ChainLayer[]): OpenFile {
  const leaf = layers[0]?.image;
  mustBeAnother(path, layers);
  const file = openImageFile(path, { access: 'write' });
  try {
    const { format, virtualSizeBytes, logicalSectorSizeBytes } = readLink(file.store);
    const fits =
      format === leaf?.format &&
      virtualSizeBytes === leaf.sizeBytes &&
      logicalSectorSizeBytes === leaf.logicalSectorSizeBytes;
    if (fits) return file;
    throw new HvError(
      'invalid-argument',
      `${file.path} is no disk that a fork of ${leaf?.name} fits: format, size and sectors must be the same`,
      {
        detail: { path: file.path, format, sizeBytes: virtualSizeBytes, logicalSectorSizeBytes },
        hint: 'Name a file that is not there, without --existing.',
      },
    );
  } catch (error) {
    file.store.close();
    throw error;
  }
}

function mustBeAnother(path: string, layers: readonly ChainLayer[]): void {
  let identity: string;
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    identity = `${dev}:${ino}`;
  } catch (error) {
    throw fromSystemError(error, `could not open ${path}`, { path });
  }
  const same = layers.find((layer) => layer.identity === identity);
  if (!same) return;
  throw new HvError('invalid-argument', `${path} belongs to the disk that is forked`, {
    detail: { path, layerPath: same.path },
  });
}

async function copyAll(fork: DiskFork, { signal, onProgress }: LongOptions): Promise<void> {
  const report = throttleProgress(onProgress);
  while (!fork.copy.isComplete) {
    fork.step();
    report({ phase: 'fork', done: fork.copy.position, total: fork.copy.sizeBytes });
    // Lets an abort and everything else in the process have its turn.
    await new Promise(setImmediate);
    throwIfAborted(signal, 'forking the disk');
  }
  await fork.flush();
}

function mustHaveRoom(path: string, layers: readonly ChainLayer[], depth: number): void {
  const { blocks, bavail, bsize } = statfsSync(dirname(resolve(path)));
  if (blocks === 0) return; // Some file systems do not count; a write says it there.
  const leaf = layers[0]?.image;
  let neededBytes = 0;
  for (const segment of leaf?.segments(0, leaf.sizeBytes) ?? []) {
    if (segment.depth < depth && segment.kind === 'data') neededBytes += segment.length;
  }
  const freeBytes = bavail * bsize;
  if (neededBytes <= freeBytes) return;
  throw new HvError('no-space', `${path} needs ${neededBytes} bytes; ${freeBytes} are free there`, {
    detail: { path, neededBytes, freeBytes },
  });
}
