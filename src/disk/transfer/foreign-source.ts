import { dirname } from 'node:path';
import { HvError } from '../../errors/index.ts';
import type { FileStore } from '../../store/index.ts';
import type { ForeignFormat } from '../image-format.ts';
import { namelessFile } from '../new-file.ts';
import { type OpenFile, openImageFile } from '../open-file.ts';
import { type DiskSource, type OpenSourceOptions, type Piece, RawSource } from './disk-source.ts';
import { checkForeign } from './foreign-header.ts';
import { type MappedExtent, mapImage, unpackImage } from './qemu-img.ts';

/**
 * Opens another program's image: qemu-img says where in the file the contents lie, and they are read from there. Where
 * it cannot say (compressed pieces, or too many), it writes them into a temporary file without a name.
 * @throws HvError `corrupt`, `unsupported`, `missing-dependency`, `process-failed`, `no-space`, `in-use`, `aborted`, `io`
 */
export async function openForeignSource(
  path: string,
  format: ForeignFormat,
  options: OpenSourceOptions,
): Promise<DiskSource> {
  const file = openImageFile(path, { access: 'read' });
  try {
    const sizeBytes = checkForeign(file.store, format);
    const extents = await mapImage(file.store, format, options.signal);
    const pieces = extents && piecesOf(file, extents);
    const isPlain = pieces?.every(({ kind, place }) => kind !== 'data' || place !== undefined) === true;
    if (pieces && (isPlain || options.isRead === false)) return new ForeignSource(file, format, pieces);
    return await unpacked(file, format, sizeBytes, options);
  } catch (error) {
    file.store.close();
    throw error;
  }
}

/** What qemu-img says, checked: in order, without gaps, within a file's reach. */
function piecesOf(file: OpenFile, extents: readonly MappedExtent[]): Piece[] {
  let end = 0;
  return extents.map(({ start, length, data, zero, present, offset }): Piece => {
    const isSound = start === end && Number.isSafeInteger(length) && length > 0 && Number.isSafeInteger(end + length);
    if (!isSound) throw new HvError('protocol', `qemu-img's answer about ${file.path} has gaps`);
    end += length;
    const isData = data && !zero;
    const isPlaced = isData && offset !== undefined && Number.isSafeInteger(offset) && offset >= 0;
    const { store, identity } = file;
    return {
      offset: start,
      length,
      kind: isData ? 'data' : present ? 'zero' : 'hole',
      depth: 0,
      place: isPlaced ? { store, fileOffset: offset, fd: store.fd, identity } : undefined,
    };
  });
}

/** The contents in a temporary file, sparse, that is gone when it is closed, however this process ends. */
async function unpacked(
  file: OpenFile,
  format: ForeignFormat,
  sizeBytes: number,
  options: OpenSourceOptions,
): Promise<DiskSource> {
  const store = namelessFile(options.workFolder ?? dirname(file.path));
  try {
    store.setSize(Math.ceil(sizeBytes / 512) * 512);
    options.onProgress?.({ phase: 'unpack', done: 0 });
    await unpackImage(file.store, format, store, options.signal);
  } catch (error) {
    store.close();
    throw error;
  }
  return new UnpackedSource(file, format, store);
}

class ForeignSource implements DiskSource {
  readonly path: string;
  readonly format: ForeignFormat;
  readonly sizeBytes: number;
  readonly logicalSectorSizeBytes = 512;
  readonly physicalSectorSizeBytes = 4096;
  readonly virtualDiskId = undefined;
  readonly files: DiskSource['files'];
  readonly #file: OpenFile;
  readonly #pieces: readonly Piece[];

  constructor(file: OpenFile, format: ForeignFormat, pieces: readonly Piece[]) {
    this.#file = file;
    this.#pieces = pieces;
    this.path = file.path;
    this.format = format;
    this.files = [file];
    const last = pieces.at(-1);
    this.sizeBytes = last ? last.offset + last.length : 0;
  }

  *pieces(offset: number, length: number): Generator<Piece> {
    const end = offset + length;
    for (const piece of this.#pieces) {
      const start = Math.max(offset, piece.offset);
      const stop = Math.min(end, piece.offset + piece.length);
      if (start >= stop) continue;
      const { place } = piece;
      const skipped = start - piece.offset;
      const moved = place && { ...place, fileOffset: place.fileOffset + skipped };
      yield { ...piece, offset: start, length: stop - start, place: moved };
    }
  }

  close(): void {
    this.#file.store.close();
  }
}

class UnpackedSource extends RawSource {
  readonly isUnpacked = true;
  readonly #file: OpenFile;

  constructor(file: OpenFile, format: ForeignFormat, store: FileStore) {
    super(store, file.path, `unpacked:${file.identity}`, format);
    this.#file = file;
  }

  override close(): void {
    super.close();
    this.#file.store.close();
  }
}
