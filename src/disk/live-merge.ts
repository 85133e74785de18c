import { HvError, invariant } from '../errors/index.ts';
import type { DiskImage } from '../formats/disk-image.ts';
import type { DiskChain } from './disk-chain.ts';
import { type CopyRun, type CopySource, FollowingCopy } from './following-copy.ts';
import { MirrorDevice } from './mirror-device.ts';

/**
 * Merges a file of an open chain into its parent while the chain is in use.
 *
 *     below the leaf:   leaf <- M <- B     M is only read: its blocks go to B, then leaf stands on B
 *     the leaf itself:  L <- B             writes go on meanwhile: behind the copy's position they go to both; at the
 *                                          end both read the same, and B becomes the leaf
 *
 * At every moment the files on disk are a sound chain, with the merged file and (from `finish` on) without it. Whoever
 * finds them after a crash may merge again or go on without.
 */
export class LiveMerge {
  readonly chain: DiskChain;
  /** Of the file that is merged; its parent is the next. */
  readonly depth: number;
  readonly copy: FollowingCopy;
  /** For a leaf: what the disk's users must use until the end. */
  readonly device: MirrorDevice | undefined;
  readonly #parent: DiskImage;

  /**
   * Opens for writing what has to be written, and gives the parent its new identity, known to both.
   * @throws HvError `not-found`, `invalid-state`, `unsupported` (sizes differ), `in-use`, `permission-denied`, `no-space`, `io`
   */
  constructor(chain: DiskChain, depth: number) {
    this.chain = chain;
    this.depth = depth;
    const merged = chain.layerAt(depth);
    const parent = chain.layerAt(depth + 1);
    const isLarger = merged.image.sizeBytes > parent.image.sizeBytes;
    if (isLarger || (depth === 0 && merged.image.sizeBytes !== parent.image.sizeBytes)) {
      throw new HvError('unsupported', `${merged.path} has another size than its parent ${parent.path}`, {
        detail: { path: merged.path, parentPath: parent.path },
        hint: 'Merge it while the machine is off.',
      });
    }
    try {
      if (depth > 1) chain.makeWritable(depth - 1);
      const child = chain.makeWritable(depth);
      this.#parent = chain.makeWritable(depth + 1);
      child.announceMerge(this.#parent);
    } catch (error) {
      this.#endWriting();
      throw error;
    }
    this.copy = new FollowingCopy(new OwnContents(chain.layerAt(depth).image), this.#parent, { isTargetBlank: false });
    this.device = depth === 0 ? new MirrorDevice(chain, this.copy) : undefined;
  }

  /** Copies the next slice. @throws HvError `io`, `no-space`, `corrupt` */
  step(): void {
    if (!this.device) {
      this.copy.step();
      return;
    }
    this.device.follow((copy) => copy.step());
    this.mustBeWhole();
  }

  /** @throws what made the copy of a leaf fail */
  mustBeWhole(): void {
    if (this.device?.failure) throw this.device.failure.error;
  }

  /** Most of what makes the parent durable, where it holds nobody up. */
  flush(): Promise<void> {
    return this.#parent.flush();
  }

  /** Before the end, with nobody using the disk: the parent holds everything, durable. */
  settle(): void {
    invariant(this.copy.isComplete, 'a merge ends when everything is copied');
    this.mustBeWhole();
    this.#parent.flushSync();
  }

  /**
   * After settle(), with nobody using the disk: the chain goes on without the merged file.
   * @returns what may wait until the disk is in use again: the end of writing to what is only read from now on, and the
   *   merged file's close; it stays for the caller to delete
   * @throws HvError `io`, `no-space`; then nothing has changed
   */
  finish(): () => Promise<void> {
    const merged = this.chain.removeMerged(this.depth);
    return async () => {
      const closing = merged.image.close();
      try {
        this.#endWritingAfter();
      } finally {
        await closing;
      }
    };
  }

  /** Gives up: the chain stays as it is, sound, to be merged another time. @throws HvError `io`, `no-space` */
  abandon(): void {
    this.#endWriting();
  }

  #endWriting(): void {
    for (const depth of [this.depth + 1, this.depth, this.depth - 1]) if (depth > 0) this.chain.makeReadOnly(depth);
  }

  /** One file less: the parent is at the merged file's place. */
  #endWritingAfter(): void {
    for (const depth of [this.depth, this.depth - 1]) if (depth > 0) this.chain.makeReadOnly(depth);
  }
}

/** What a differencing file holds itself. */
class OwnContents implements CopySource {
  readonly #image: DiskImage;

  constructor(image: DiskImage) {
    this.#image = image;
  }

  get sizeBytes(): number {
    return this.#image.sizeBytes;
  }

  read(offset: number, target: Uint8Array, targetStart: number, length: number): void {
    this.#image.read(offset, target, targetStart, length);
  }

  *runs(offset: number, length: number): Generator<CopyRun> {
    for (const segment of this.#image.segments(offset, length)) {
      const kind = segment.depth > 0 ? 'other' : segment.kind === 'data' ? 'data' : 'zero';
      yield { offset: segment.offset, length: segment.length, kind };
    }
  }
}
