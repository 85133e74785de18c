import { realpathSync, unlinkSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, resolve } from 'node:path';
import { fromSystemError, HvError, invariant, isSystemError } from '../errors/index.ts';
import type { DiskImage, DiskType, Segment } from '../formats/disk-image.ts';
import type { BlockDevice, Extent, FileRange } from './block-device.ts';
import {
  type ChangeTrackingInfo,
  type DiskChanges,
  disableTracking,
  enableTracking,
  handOverTracker,
  type QueryChangesOptions,
  queryChain,
  takeReferencePoint,
  trackChild,
  trackingInfo,
} from './chain-changes.ts';
import { childOf } from './child-file.ts';
import { createImageFile, syncFolder } from './create-file.ts';
import type { FrozenView } from './frozen-view.ts';
import { type ChainLayer, MAX_CHAIN_DEPTH } from './open-chain.ts';
import { openImage } from './open-image.ts';
import { relink } from './set-parent.ts';
import { removeTrackingFile } from './tracking-file.ts';

/** One file of a chain, as others may see it. */
export interface LayerInfo {
  readonly path: string;
  readonly format: DiskImage['format'];
  readonly type: DiskType;
  /** The disk's own id: the same in every file of a chain that Hyper-V or hv made. */
  readonly virtualDiskId: string;
  /** Identifies the contents; a child's reference holds it: a VHDX's DataWriteGuid, a VHD's unique id. */
  readonly contentId: string;
  readonly readOnly: boolean;
}

/**
 * A virtual disk of one image file or a chain of them, open and locked. All calls but flush, commitChild and close are
 * synchronous. Only the leaf is written.
 */
export class DiskChain implements BlockDevice, AsyncDisposable {
  readonly logicalSectorSizeBytes: number;
  /** Leaf first. */
  #layers: ChainLayer[];
  #leaf: DiskImage;
  #child: ChainLayer | undefined;
  #frozen: FrozenView | undefined;
  #isOpen = true;

  constructor(layers: readonly ChainLayer[]) {
    this.#layers = [...layers];
    const leaf = this.#layers[0];
    invariant(leaf, 'a chain has a leaf');
    this.#leaf = leaf.image;
    this.logicalSectorSizeBytes = this.#leaf.logicalSectorSizeBytes;
  }

  /** As it is now: resize() changes it. */
  get sizeBytes(): number {
    return this.#leaf.sizeBytes;
  }

  get physicalSectorSizeBytes(): number {
    return this.#leaf.physicalSectorSizeBytes;
  }

  get readOnly(): boolean {
    return this.#leaf.readOnly;
  }

  /** The files of the chain, leaf first. */
  get layers(): readonly LayerInfo[] {
    return this.#layers.map(({ image, path }) => ({
      path,
      format: image.format,
      type: image.type,
      virtualDiskId: image.virtualDiskId,
      contentId: image.contentId,
      readOnly: image.readOnly,
    }));
  }

  read(offset: number, target: Uint8Array, targetStart: number, length: number): void {
    this.#leaf.read(offset, target, targetStart, length);
  }

  write(offset: number, source: Uint8Array, sourceStart: number, length: number): void {
    this.#frozen?.beforeChange(offset, length);
    this.#leaf.write(offset, source, sourceStart, length);
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): void {
    this.#frozen?.beforeChange(offset, length);
    this.#leaf.writeZeroes(offset, length, mayUnmap);
  }

  trim(offset: number, length: number): void {
    this.#frozen?.beforeChange(offset, length);
    this.#leaf.trim(offset, length);
  }

  /** Makes the disk larger or smaller; the files under the leaf keep their size. @throws HvError as DiskImage.resize */
  resize(sizeBytes: number): void {
    if (this.#frozen) throw new HvError('in-use', 'the disk is being backed up');
    this.#leaf.resize(sizeBytes);
  }

  flush(): Promise<void> {
    return this.#leaf.flush();
  }

  *extents(offset: number, length: number): Generator<Extent> {
    let pending: Extent | undefined;
    for (const { offset: start, length: size, kind, depth } of this.#leaf.segments(offset, length)) {
      if (pending && pending.kind === kind && pending.depth === depth) {
        pending = { ...pending, length: pending.length + size };
      } else {
        if (pending) yield pending;
        pending = { offset: start, length: size, kind, depth };
      }
    }
    if (pending) yield pending;
  }

  resolveRead(offset: number, length: number): readonly FileRange[] {
    const ranges: FileRange[] = [];
    for (const segment of this.#leaf.segments(offset, length)) ranges.push(fileRange(segment, this.#layers));
    return ranges;
  }

  /**
   * Makes a differencing file whose parent is the current leaf, durable and locked, but does not use it yet: writes go
   * on to the leaf until commitChild(). Needs no second open of the leaf.
   * @throws HvError `invalid-state` (read-only, or a child is prepared already), `already-exists`, `permission-denied`, `no-space`, `io`
   */
  prepareChild(childPath: string): void {
    this.#mustBeOpen();
    const leaf = this.#layers[0];
    if (!leaf || this.readOnly)
      throw new HvError('invalid-state', 'a disk that is open for reading only gets no child');
    if (this.#child)
      throw new HvError('invalid-state', `a child of ${leaf.path} is prepared already: ${this.#child.path}`);
    if (this.#layers.length >= MAX_CHAIN_DEPTH) {
      throw new HvError(
        'unsupported',
        `the chain of ${leaf.path} is as deep as a chain may be: ${MAX_CHAIN_DEPTH} files`,
      );
    }
    leaf.image.settleContentId();
    const path = isAbsolute(childPath) ? join(realFolder(childPath), basename(childPath)) : childPath;
    const file = createImageFile(path, childOf(resolve(path), { ...leaf, path: resolve(leaf.path) }));
    try {
      const image = openImage(file.store, { readOnly: false });
      image.setParent(leaf.image);
      this.#child = { image, path: file.path, identity: file.identity, writeAccess: file.writeAccess };
      trackChild(leaf, this.#child);
    } catch (error) {
      file.store.close();
      unlinkSync(path);
      throw error;
    }
  }

  /**
   * Ends writing to the leaf (durable, its log empty, read-only from now on) and puts the prepared child in its place.
   * Writes that arrive meanwhile go to the old leaf before its end, or to the child after it. When it fails, the leaf
   * stays in use and the child stays prepared.
   * @throws HvError `invalid-state` (no child is prepared), `io`, `no-space`
   */
  async commitChild(): Promise<void> {
    this.#mustBeOpen();
    if (!this.#child) throw new HvError('invalid-state', 'no child is prepared');
    // Most of the work happens here, where it holds nobody up; what seal() does at once is little.
    await this.#leaf.flush();
    const child = this.#child;
    if (!child) throw new HvError('invalid-state', 'the prepared child was abandoned');
    this.#leaf.seal();
    this.#layers[0]?.writeAccess?.giveBack();
    this.#layers = [child, ...this.#layers];
    this.#leaf = child.image;
    this.#child = undefined;
  }

  /** Closes and removes the prepared child; nothing happens when there is none. */
  async abandonChild(): Promise<void> {
    const child = this.#child;
    if (!child) return;
    this.#child = undefined;
    await child.image.close();
    try {
      unlinkSync(child.path);
    } catch (error) {
      if (!isSystemError(error, 'ENOENT'))
        throw fromSystemError(error, `could not remove ${child.path}`, { path: child.path });
    }
    removeTrackingFile(child.path);
    syncFolder(dirname(child.path));
  }

  /** From here on the view is told before anything changes. @throws HvError `in-use` (there is a view already) */
  freeze(view: FrozenView): void {
    this.#mustBeOpen();
    if (this.#frozen) throw new HvError('in-use', 'the disk is being backed up already');
    this.#frozen = view;
  }

  thaw(): void {
    this.#frozen = undefined;
  }

  /** Whether changes of the leaf are tracked. */
  changeTracking(): ChangeTrackingInfo {
    return trackingInfo(this.#layers);
  }

  /** @throws HvError `unsupported`, `permission-denied` (the folder), `no-space`, `io` */
  enableChangeTracking(): ChangeTrackingInfo {
    this.#mustBeOpen();
    enableTracking(this.#layers);
    return this.changeTracking();
  }

  disableChangeTracking(): ChangeTrackingInfo {
    this.#mustBeOpen();
    disableTracking(this.#layers);
    return this.changeTracking();
  }

  /** Names this moment: an id, for a query of what changes from here on. @throws HvError `invalid-state`, `io`, `no-space` */
  takeReferencePoint(): string {
    this.#mustBeOpen();
    return takeReferencePoint(this.#layers);
  }

  /** @throws HvError `invalid-state`, `not-found` (the id), `invalid-argument` */
  queryChanges(sinceId: string, options: QueryChangesOptions = {}): DiskChanges {
    this.#mustBeOpen();
    return queryChain(this.#layers, sinceId, options);
  }

  /** The file at a place of the chain, the leaf at 0. @throws HvError `not-found` */
  layerAt(depth: number): ChainLayer {
    this.#mustBeOpen();
    const layer = this.#layers[depth];
    if (layer) return layer;
    throw new HvError('not-found', `the chain of ${this.#leaf.name} has no file at depth ${depth}`);
  }

  /** Opens a parent for writing in its place; the disk reads as before. Nothing happens where it is so already. @throws HvError `in-use`, `permission-denied`, `io`, `corrupt` */
  makeWritable(depth: number): DiskImage {
    const layer = this.layerAt(depth);
    if (!layer.image.readOnly) return layer.image;
    if (!layer.writeAccess) {
      throw new HvError('permission-denied', `${layer.path} is open for reading only`, {
        detail: { path: layer.path },
      });
    }
    const store = layer.writeAccess.take();
    try {
      const tracker = handOverTracker(layer);
      const image = openImage(store, { readOnly: false, format: layer.image.format, tracker });
      const below = this.#layers[depth + 1];
      if (below) image.setParent(below.image);
      this.#replaceLayer(depth, { ...layer, image });
      return image;
    } catch (error) {
      layer.writeAccess.giveBack();
      throw error;
    }
  }

  /** Ends writing to a parent: everything in its place, from now on read among other readers. @throws HvError `io`, `no-space` */
  makeReadOnly(depth: number): void {
    const layer = this.layerAt(depth);
    invariant(depth > 0, 'the leaf is written');
    if (layer.image.readOnly) return;
    layer.image.seal();
    layer.writeAccess?.giveBack();
  }

  /**
   * Takes a file whose contents its parent holds as well out of the chain; what stands on it stands on the parent from
   * now on: its reference changes first, durable, and as one. The file stays as it is, still valid, and the caller's to
   * close. At depth 0 the parent, which must be open for writing, becomes the leaf.
   * @throws HvError `io`, `no-space`; then nothing has changed
   */
  removeMerged(depth: number): ChainLayer {
    const merged = this.layerAt(depth);
    const parent = this.layerAt(depth + 1);
    if (depth === 0) {
      invariant(!parent.image.readOnly, 'a leaf is written');
      this.#layers = this.#layers.slice(1);
      this.#leaf = parent.image;
      return merged;
    }
    const child = this.layerAt(depth - 1);
    relink(child.image, parent.image.contentId, resolve(child.path), resolve(parent.path));
    child.image.flushSync();
    child.image.setParent(parent.image);
    this.#layers = this.#layers.filter((layer) => layer !== merged);
    return merged;
  }

  #replaceLayer(depth: number, layer: ChainLayer): void {
    this.#layers = this.#layers.map((old, at) => (at === depth ? layer : old));
    this.#layers[depth - 1]?.image.setParent(layer.image);
  }

  /** Flushes, closes the leaf in order and all files of the chain; removes a child that was never committed. Idempotent. */
  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    const failures: unknown[] = [];
    for (const end of [
      () => this.abandonChild(),
      ...this.#layers.map(
        ({ image }) =>
          () =>
            image.close(),
      ),
    ]) {
      try {
        await end();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #mustBeOpen(): void {
    if (!this.#isOpen) throw new HvError('invalid-state', 'the disk is closed');
  }
}

function fileRange(segment: Segment, layers: readonly ChainLayer[]): FileRange {
  const { length, kind, fileOffset, depth, store } = segment;
  if (kind !== 'data') return { length, fd: undefined, fileOffset: 0 };
  if (store?.fd === undefined || layers[depth]?.image.isOverlaid(fileOffset, length)) {
    throw new HvError('unsupported', `the bytes of ${store?.name ?? 'this disk'} are not in a file as they are read`);
  }
  return { length, fd: store.fd, fileOffset };
}

function realFolder(path: string): string {
  try {
    return realpathSync(dirname(path));
  } catch (error) {
    throw fromSystemError(error, `could not find the folder of ${path}`, { path });
  }
}
