import { fchmodSync, fchownSync, fdatasyncSync, fstatSync } from 'node:fs';
import { fromSystemError, HvError, invariant, isHvError } from '../errors/index.ts';
import { type ChangedRange, ChangeTracker } from '../formats/rct/index.ts';
import { VhdxImage } from '../formats/vhdx/index.ts';
import { createFile } from './create-file.ts';
import type { ChainLayer } from './open-chain.ts';
import { mustOpenTracker, trackerForWriting } from './open-tracker.ts';
import { removeTrackingFile, trackingPath } from './tracking-file.ts';

/** Windows: the change tracking state of GetVirtualDiskInformation. */
export interface ChangeTrackingInfo {
  readonly enabled: boolean;
  /** Whether anything changed since the most recent id. */
  readonly newerChanges: boolean;
  /** Null while tracking is off, and after software without tracking wrote to the disk. */
  readonly mostRecentId: string | null;
}

export const TRACKING_OFF: ChangeTrackingInfo = { enabled: false, newerChanges: false, mostRecentId: null };

export interface QueryChangesOptions {
  /** The part of the disk that is asked about; default all of it. */
  readonly offsetBytes?: number | undefined;
  readonly lengthBytes?: number | undefined;
  /** The answer is cut short here, and says how far it reaches. Default 100 000. */
  readonly maxRanges?: number | undefined;
  /** Also names this moment: the id for the next query. Nothing can come between the two. */
  readonly takeReferencePoint?: boolean | undefined;
}

/** Windows: what QueryChangesVirtualDisk fills in. */
export interface DiskChanges {
  /** Ascending, apart from each other; what did not change may be among them, what changed always is. */
  readonly ranges: readonly ChangedRange[];
  readonly processedLengthBytes: number;
  /** Null unless it was asked for. */
  readonly referencePointId: string | null;
}

const MAX_RANGES = 100_000;

/** The leaf's state. */
export function trackingInfo(layers: readonly ChainLayer[]): ChangeTrackingInfo {
  const tracker = trackerOf(leafOf(layers));
  return tracker ? { enabled: true, ...tracker.state() } : TRACKING_OFF;
}

/** Begins to track the leaf of an open chain. Does nothing where it is tracked; begins anew where tracking was broken. */
export function enableTracking(layers: readonly ChainLayer[]): void {
  const leaf = leafOf(layers);
  const image = vhdxOf(leaf);
  if (trackerOf(leaf)?.isBound) return;
  dropTracker(image);
  let tracker: ChangeTracker | undefined;
  try {
    tracker = mustOpenTracker(leaf.path, 'write');
  } catch (error) {
    if (!(error instanceof HvError) || error.code !== 'corrupt') throw error;
    removeTrackingFile(leaf.path);
  }
  if (tracker) observe(image, tracker);
  else observe(image, createTracker(leaf.path, image.state, image));
}

/** Ends tracking; all ids of this file are void. @returns whether it was tracked */
export function disableTracking(layers: readonly ChainLayer[]): boolean {
  const leaf = leafOf(layers);
  dropTracker(vhdxOf(leaf));
  return removeTrackingFile(leaf.path);
}

/**
 * Tracks a new, empty child of a tracked leaf from its first write on, so that ids can be made in it at once. Where that
 * is impossible, ids of the leaf still tell all: whatever the child holds counts as changed.
 */
export function trackChild(leaf: ChainLayer, child: ChainLayer): void {
  if (!trackerOf(leaf)?.isBound || !(child.image instanceof VhdxImage)) return;
  try {
    observe(child.image, createTracker(child.path, child.image.state, child.image));
  } catch (error) {
    if (!isHvError(error)) throw error;
  }
}

/**
 * The ids of files that have been merged into the one below them are answered for by that one from here on; a file that
 * was not tracked is, where one of them was. Where that is impossible the merge counts all the same: those ids end, and
 * the next query asks for a full backup.
 * @param merged linked with each other and with the target, leaf first; the target holds all of them, durable, and is
 *   open for writing
 */
export function carryChanges(merged: readonly ChainLayer[], target: ChainLayer): void {
  if (!merged.some((layer) => trackerOf(layer)?.isBound)) return;
  try {
    if (!trackerOf(target)) enableTracking([target]);
    const files = merged.map((layer, depth) => ({ tracker: trackerOf(layer), held: heldAt(merged, depth) }));
    trackerOf(target)?.absorb(files.reverse());
  } catch (error) {
    if (!isHvError(error)) throw error;
  }
}

/**
 * Names this moment. What was written before it is durable first: a power cut must not bring back what it replaced, as
 * that would be no change since.
 * @throws HvError `invalid-state` (tracking is off, or was broken), `in-use`, `io`, `no-space`
 */
export function takeReferencePoint(layers: readonly ChainLayer[]): string {
  const leaf = leafOf(layers);
  const tracker = writableTracker(leaf);
  if (leaf.image.readOnly) syncFile(leaf);
  else leaf.image.flushSync();
  return tracker.takeReferencePoint();
}

/** A process that died may have left writes that are nowhere but in memory. */
function syncFile({ image, path }: ChainLayer): void {
  try {
    if (image.store.fd !== undefined) fdatasyncSync(image.store.fd);
  } catch (error) {
    throw fromSystemError(error, `could not flush ${path}`, { path });
  }
}

/**
 * What may have changed of the virtual disk since an id was made, in whichever file of the chain that was: the changes of
 * that file since, and all that the files made on it hold.
 * @throws HvError `invalid-state` (detail.reason `tracking-off`, `tracking-broken`), `not-found` (detail.reason
 *   `unknown-id`), `invalid-argument`
 */
export function queryChain(layers: readonly ChainLayer[], sinceId: string, options: QueryChangesOptions): DiskChanges {
  const { image } = leafOf(layers);
  const { offsetBytes = 0, lengthBytes = image.sizeBytes - offsetBytes, maxRanges = MAX_RANGES } = options;
  const isInside = [offsetBytes, lengthBytes].every((value) => Number.isSafeInteger(value) && value >= 0);
  if (!isInside || offsetBytes + lengthBytes > image.sizeBytes || !(maxRanges >= 1)) {
    throw new HvError('invalid-argument', `the range is outside of the disk ${image.name}`, {
      detail: { path: image.name, offsetBytes, lengthBytes, sizeBytes: image.sizeBytes },
    });
  }
  const depth = depthOfId(layers, sinceId);
  const referencePointId = options.takeReferencePoint === true ? takeReferencePoint(layers) : null;
  const tracker = trackerOf(layers[depth]);
  invariant(tracker, 'the layer that knows the id is tracked');
  const end = offsetBytes + lengthBytes;
  const above = depth === 0 ? [] : heldAbove(layers, depth, offsetBytes, lengthBytes);
  const ranges: ChangedRange[] = [];
  let reached = end;
  for (const range of union(changesOf(tracker, sinceId, offsetBytes, lengthBytes), above)) {
    if (ranges.length === maxRanges) {
      reached = range.offsetBytes;
      break;
    }
    ranges.push(range);
  }
  return { ranges, processedLengthBytes: reached - offsetBytes, referencePointId };
}

function depthOfId(layers: readonly ChainLayer[], sinceId: string): number {
  const trackers = layers.map(trackerOf);
  const depth = trackers.findIndex((tracker) => tracker?.isBound === true && tracker.knows(sinceId));
  if (depth >= 0) return depth;
  const known = trackers.filter((tracker) => tracker !== undefined);
  known.find((tracker) => !tracker.isBound)?.mustBeBound();
  const [first] = known;
  throw first ? (known.find((tracker) => tracker.wasRestarted) ?? first).unknownId(sinceId) : off(leafOf(layers).path);
}

/** All of it, however many ranges that are. */
function changesOf(tracker: ChangeTracker, sinceId: string, offset: number, length: number): readonly ChangedRange[] {
  return tracker.query(sinceId, offset, length, Number.POSITIVE_INFINITY).ranges;
}

/** What the files nearer to the leaf than `depth` hold of a range. */
function* heldAbove(
  layers: readonly ChainLayer[],
  depth: number,
  offsetBytes: number,
  lengthBytes: number,
): Generator<ChangedRange> {
  for (const segment of leafOf(layers).image.segments(offsetBytes, lengthBytes)) {
    if (segment.depth < depth) yield { offsetBytes: segment.offset, lengthBytes: segment.length };
  }
}

/** What of the disk comes from the file at that depth. */
function* heldAt(layers: readonly ChainLayer[], depth: number): Generator<ChangedRange> {
  const { image } = leafOf(layers);
  for (const segment of image.segments(0, image.sizeBytes)) {
    if (segment.depth === depth) yield { offsetBytes: segment.offset, lengthBytes: segment.length };
  }
}

/** Two ascending lists as one; what touches is joined. */
function* union(first: Iterable<ChangedRange>, second: Iterable<ChangedRange>): Generator<ChangedRange> {
  let pending: ChangedRange | undefined;
  for (const next of inOrder(first[Symbol.iterator](), second[Symbol.iterator]())) {
    const pendingEnd = pending ? pending.offsetBytes + pending.lengthBytes : 0;
    if (pending && next.offsetBytes <= pendingEnd) {
      const end = Math.max(pendingEnd, next.offsetBytes + next.lengthBytes);
      pending = { offsetBytes: pending.offsetBytes, lengthBytes: end - pending.offsetBytes };
    } else {
      if (pending) yield pending;
      pending = next;
    }
  }
  if (pending) yield pending;
}

function* inOrder(first: Iterator<ChangedRange>, second: Iterator<ChangedRange>): Generator<ChangedRange> {
  let one = first.next();
  let other = second.next();
  for (;;) {
    if (!one.done && (other.done || one.value.offsetBytes <= other.value.offsetBytes)) {
      yield one.value;
      one = first.next();
    } else if (!other.done) {
      yield other.value;
      other = second.next();
    } else return;
  }
}

/** The leaf's tracker for writing. Of a chain that is open for reading only, the tracking file alone is opened for it. */
function writableTracker(leaf: ChainLayer): ChangeTracker {
  const image = vhdxOf(leaf);
  const present = trackerOf(leaf);
  if (present && !present.readOnly) return present;
  const tracker = mustOpenTracker(leaf.path, 'write');
  if (!tracker) throw off(leaf.path);
  dropTracker(image);
  observe(image, tracker);
  return tracker;
}

function observe(image: VhdxImage, tracker: ChangeTracker): void {
  try {
    tracker.opened(image.state);
  } catch (error) {
    tracker.close();
    throw error;
  }
  image.observeChanges(tracker);
}

/** The tracker of a file that is opened anew for writing; the image that read it has none any more. */
export function handOverTracker(layer: ChainLayer): ChangeTracker | undefined {
  const present = trackerOf(layer);
  if (!present || !(layer.image instanceof VhdxImage)) return undefined;
  layer.image.stopObserving();
  return trackerForWriting(present);
}

function dropTracker(image: VhdxImage): void {
  const { changes } = image;
  image.stopObserving();
  changes?.close();
}

/** A new tracking file, owned as the disk is. */
function createTracker(diskPath: string, state: VhdxImage['state'], image: VhdxImage): ChangeTracker {
  let tracker: ChangeTracker | undefined;
  createFile(trackingPath(diskPath), (store) => {
    if (image.store.fd !== undefined) ownAs(image.store.fd, store.fd);
    tracker = ChangeTracker.create(store, state, { hasChanged: image.hasNewFileGuid });
  });
  invariant(tracker, 'a file that was made was filled');
  return tracker;
}

function ownAs(modelFd: number, fd: number): void {
  const { uid, gid, mode } = fstatSync(modelFd);
  try {
    fchmodSync(fd, mode & 0o666);
    fchownSync(fd, uid, gid);
  } catch {
    // Another user's disk: whoever opens the disk for writing later may not reach the file, and tracking is broken then.
  }
}

function trackerOf(layer: ChainLayer | undefined): ChangeTracker | undefined {
  const changes = layer?.image instanceof VhdxImage ? layer.image.changes : undefined;
  return changes instanceof ChangeTracker ? changes : undefined;
}

function leafOf(layers: readonly ChainLayer[]): ChainLayer {
  const [leaf] = layers;
  invariant(leaf, 'an open chain has a leaf');
  return leaf;
}

function vhdxOf({ image, path }: ChainLayer): VhdxImage {
  if (image instanceof VhdxImage) return image;
  throw new HvError('unsupported', `the changes of ${path} cannot be tracked: it is not a VHDX file`, {
    detail: { path, format: image.format },
    hint: 'Convert it to VHDX.',
  });
}

function off(path: string): HvError {
  return new HvError('invalid-state', `the changes of ${path} are not tracked`, {
    detail: { path, reason: 'tracking-off' },
    hint: `Begin with: hv vhd tracking enable ${path}`,
  });
}
