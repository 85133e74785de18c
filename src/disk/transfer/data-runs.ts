import { type DiskSource, fileRuns, type Piece, type Place } from './disk-source.ts';

/** Shorter pieces are not searched for holes: looking costs more than reading them. */
const MIN_SEARCHED_BYTES = 64 * 1024;

/** Bytes of a disk that lie together in one file and are no hole in it. */
export interface DataRun {
  readonly offset: number;
  readonly length: number;
  readonly place: Place;
}

/**
 * The data of a range, in order: what the tables of the formats know, less the holes in the files. Everything between
 * the runs reads as zero.
 */
export function* dataRuns(source: DiskSource, offset: number, length: number): Generator<DataRun> {
  for (const piece of source.pieces(offset, length)) yield* runsOf(piece);
}

function* runsOf(piece: Piece): Generator<DataRun> {
  const { offset, length, kind, place } = piece;
  if (kind !== 'data' || !place) return;
  const { fd, fileOffset } = place;
  if (fd === undefined || length < MIN_SEARCHED_BYTES) {
    yield { offset, length, place };
    return;
  }
  for (const { start, end, isData } of fileRuns(fd, fileOffset, length)) {
    if (isData) {
      yield { offset: offset + start - fileOffset, length: end - start, place: { ...place, fileOffset: start } };
    }
  }
}
