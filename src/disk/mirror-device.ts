import type { BlockDevice, Extent, FileRange } from './block-device.ts';
import type { CopyRun, CopySource, FollowingCopy } from './following-copy.ts';

/**
 * A disk whose every change also goes to a copy that is being made of it. Only the disk itself counts: when the copy
 * fails, it is given up, and whoever uses the disk sees nothing of it.
 */
export class MirrorDevice implements BlockDevice {
  readonly source: BlockDevice;
  readonly #copy: FollowingCopy;
  #failure: { readonly error: unknown } | undefined;

  constructor(source: BlockDevice, copy: FollowingCopy) {
    this.source = source;
    this.#copy = copy;
  }

  /** Why the copy was given up. */
  get failure(): { readonly error: unknown } | undefined {
    return this.#failure;
  }

  get sizeBytes(): number {
    return this.source.sizeBytes;
  }

  get logicalSectorSizeBytes(): number {
    return this.source.logicalSectorSizeBytes;
  }

  get physicalSectorSizeBytes(): number {
    return this.source.physicalSectorSizeBytes;
  }

  get readOnly(): boolean {
    return this.source.readOnly;
  }

  read(offset: number, target: Uint8Array, targetStart: number, length: number): void {
    this.source.read(offset, target, targetStart, length);
  }

  write(offset: number, source: Uint8Array, sourceStart: number, length: number): void {
    this.source.write(offset, source, sourceStart, length);
    this.follow((copy) => copy.wrote(offset, source, sourceStart, length));
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): void {
    this.source.writeZeroes(offset, length, mayUnmap);
    this.follow((copy) => copy.zeroed(offset, length, mayUnmap));
  }

  trim(offset: number, length: number): void {
    this.source.trim(offset, length);
    this.follow((copy) => copy.trimmed(offset, length));
  }

  flush(): Promise<void> {
    return this.source.flush();
  }

  extents(offset: number, length: number): Iterable<Extent> {
    return this.source.extents(offset, length);
  }

  resolveRead(offset: number, length: number): readonly FileRange[] {
    return this.source.resolveRead(offset, length);
  }

  close(): Promise<void> {
    return this.source.close();
  }

  /** Does something to the copy, unless it has been given up. A failure is remembered, never thrown. */
  follow(work: (copy: FollowingCopy) => void): void {
    if (this.#failure) return;
    try {
      work(this.#copy);
    } catch (error) {
      this.#failure = { error };
    }
  }
}

/** All of a device, to be copied. */
export class WholeDevice implements CopySource {
  readonly #device: BlockDevice;

  constructor(device: BlockDevice) {
    this.#device = device;
  }

  get sizeBytes(): number {
    return this.#device.sizeBytes;
  }

  read(offset: number, target: Uint8Array, targetStart: number, length: number): void {
    this.#device.read(offset, target, targetStart, length);
  }

  *runs(offset: number, length: number): Generator<CopyRun> {
    for (const extent of this.#device.extents(offset, length)) {
      yield { offset: extent.offset, length: extent.length, kind: extent.kind === 'data' ? 'data' : 'zero' };
    }
  }
}
