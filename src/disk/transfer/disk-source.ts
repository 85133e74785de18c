import type { LongOptions } from '../../async/index.ts';
import type { ByteStore, FileStore } from '../../store/index.ts';
import { nextData, nextHole } from '../../system/index.ts';
import { isVhdSet } from '../disk-format.ts';
import { type ImageFormat, imageFormatOf, isForeign } from '../image-format.ts';
import { type ChainLayer, openImageChain } from '../open-chain.ts';
import { openImageFile } from '../open-file.ts';
import { onVhdSetLeaf } from '../vhd-set-store.ts';

/** A run of a disk's bytes that come from one place. */
export interface Piece {
  readonly offset: number;
  readonly length: number;
  readonly kind: 'data' | 'zero' | 'hole';
  /** How many files up the chain the answer comes from; 0 is the disk's own file. */
  readonly depth: number;
  /** For data: where it lies. Undefined where the place in the file is not where it can be read (a compressed piece). */
  readonly place: Place | undefined;
}

export interface Place {
  readonly store: ByteStore;
  readonly fileOffset: number;
  /** Undefined where the file's bytes are not the right ones as they are: a log lies over them. */
  readonly fd: number | undefined;
  /** Tells files apart whatever their paths. */
  readonly identity: string;
}

/** A disk that is read from one end to the other, whatever its format. Locked against writers while it is open. */
export interface DiskSource {
  readonly path: string;
  readonly format: ImageFormat;
  readonly sizeBytes: number;
  readonly logicalSectorSizeBytes: number;
  readonly physicalSectorSizeBytes: number;
  readonly virtualDiskId: string | undefined;
  /** The files that it is made of, its own first. */
  readonly files: readonly { readonly path: string; readonly identity: string }[];
  /** Where it lies now is temporary: places in it mean nothing to anybody else. */
  readonly isUnpacked?: boolean;
  /** What a range is made of, in order and without gaps. */
  pieces(offset: number, length: number): Iterable<Piece>;
  close(): void;
}

export interface OpenSourceOptions extends LongOptions {
  readonly format?: ImageFormat | undefined;
  /** Where parents may lie beside their children's own folders. */
  readonly allowParents?: readonly string[] | undefined;
  /** Every piece of data must have its place; else only what is known of it is told. Default true. */
  readonly isRead?: boolean;
  /** Where a large temporary file may lie, should one be needed. Default: beside the source. */
  readonly workFolder?: string | undefined;
}

/**
 * Opens a disk with all its parents for reading; of a VHD Set, the disk that it has now.
 * @throws HvError `not-found`, `permission-denied`, `in-use`, `corrupt`, `parent-changed`, `unsupported`, `missing-dependency`, `io`, `aborted`
 */
export async function openSource(path: string, options: OpenSourceOptions = {}): Promise<DiskSource> {
  if (options.format === undefined && isVhdSet(path)) {
    return onVhdSetLeaf(path, options, (leafPath, allowParents) =>
      openSource(leafPath, { ...options, format: 'vhdx', allowParents }),
    );
  }
  const format = imageFormatOf(path, options.format);
  if (isForeign(format)) {
    const { openForeignSource } = await import('./foreign-source.ts');
    return openForeignSource(path, format, options);
  }
  if (format === 'raw') {
    const file = openImageFile(path, { access: 'read' });
    return new RawSource(file.store, file.path, file.identity);
  }
  const { allowParents = [], signal } = options;
  return new ChainSource(openImageChain(path, { format, readOnly: true, allowParents, signal }));
}

/** A file whose bytes are the disk's. Where it ends within a sector, the rest of that sector is zeros. */
export class RawSource implements DiskSource {
  readonly path: string;
  readonly format: ImageFormat;
  readonly sizeBytes: number;
  readonly logicalSectorSizeBytes = 512;
  readonly physicalSectorSizeBytes = 4096;
  readonly virtualDiskId = undefined;
  readonly files: DiskSource['files'];
  readonly #store: FileStore;
  readonly #identity: string;

  constructor(store: FileStore, path: string, identity: string, format: ImageFormat = 'raw') {
    this.#store = store;
    this.path = path;
    this.format = format;
    this.#identity = identity;
    this.files = [{ path, identity }];
    this.sizeBytes = store.size();
  }

  *pieces(offset: number, length: number): Generator<Piece> {
    const store = this.#store;
    const { fd } = store;
    const place = (fileOffset: number): Place => ({ store, fileOffset, fd, identity: this.#identity });
    for (const { start, end, isData } of fileRuns(fd, offset, length)) {
      const kind = isData ? 'data' : 'hole';
      yield { offset: start, length: end - start, kind, depth: 0, place: isData ? place(start) : undefined };
    }
  }

  close(): void {
    this.#store.close();
  }
}

/** Where a file has data and where it has holes, in order; what lies beyond its end counts as a hole. */
export function* fileRuns(
  fd: number,
  offset: number,
  length: number,
): Generator<{ readonly start: number; readonly end: number; readonly isData: boolean }> {
  const rangeEnd = offset + length;
  for (let at = offset; at < rangeEnd; ) {
    const data = Math.min(rangeEnd, nextData(fd, at) ?? rangeEnd);
    if (data > at) yield { start: at, end: data, isData: false };
    if (data === rangeEnd) return;
    // Never without progress, whatever others do to the file meanwhile.
    at = Math.max(data + 1, Math.min(rangeEnd, nextHole(fd, data)));
    yield { start: data, end: at, isData: true };
  }
}

/** An image file with its parents. */
export class ChainSource implements DiskSource {
  readonly path: string;
  readonly format: ImageFormat;
  readonly sizeBytes: number;
  readonly logicalSectorSizeBytes: number;
  readonly physicalSectorSizeBytes: number;
  readonly virtualDiskId: string;
  readonly files: DiskSource['files'];
  readonly leaf: ChainLayer;
  readonly #layers: readonly ChainLayer[];

  constructor(layers: readonly ChainLayer[]) {
    this.#layers = layers;
    this.leaf = layers[0] as ChainLayer; // an open chain has a leaf
    const { image, path } = this.leaf;
    this.path = path;
    this.format = image.format;
    this.sizeBytes = image.sizeBytes;
    this.logicalSectorSizeBytes = image.logicalSectorSizeBytes;
    this.physicalSectorSizeBytes = image.physicalSectorSizeBytes;
    this.virtualDiskId = image.virtualDiskId;
    this.files = layers;
  }

  *pieces(offset: number, length: number): Generator<Piece> {
    for (const segment of this.leaf.image.segments(offset, length)) {
      const { kind, depth, store, fileOffset } = segment;
      const layer = this.#layers[depth];
      let place: Place | undefined;
      if (kind === 'data' && store && layer) {
        const isOverlaid = layer.image.isOverlaid(fileOffset, segment.length);
        place = { store, fileOffset, fd: isOverlaid ? undefined : store.fd, identity: layer.identity };
      }
      yield { offset: segment.offset, length: segment.length, kind, depth, place };
    }
  }

  close(): void {
    for (const { image } of this.#layers) image.store.close();
  }
}
