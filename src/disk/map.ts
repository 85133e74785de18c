import { type LongOptions, throttleProgress, throwIfAborted } from '../async/index.ts';
import { HvError } from '../errors/index.ts';
import type { ImageFormat } from './image-format.ts';
import { type DiskSource, openSource, type Piece } from './transfer/disk-source.ts';
import { turn } from './transfer/scan.ts';

/** A map of a disk in more pieces than this is no answer that fits in memory. */
const MAX_ENTRIES = 2_000_000;
const ENTRIES_PER_TURN = 4096;

export interface MapOptions extends LongOptions {
  /** Default: what the name's ending says. */
  readonly format?: ImageFormat | undefined;
  /** Only this range. Default: the whole disk. */
  readonly offsetBytes?: number | undefined;
  readonly lengthBytes?: number | undefined;
  /** Where parents may lie beside their children's own folders. */
  readonly allowParents?: readonly string[] | undefined;
}

/** A run of a disk's bytes of one kind and from one place. */
export interface MapEntry {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /**
   * `data`: in the disk's own file. `parent`: data of one of its parents. `zero`: reads as zero, because a file says so.
   * `unmapped`: reads as zero, because nothing was ever written there, or was given back.
   */
  readonly kind: 'data' | 'zero' | 'unmapped' | 'parent';
  /** How many files up the chain the answer comes from; 0 is the disk's own. */
  readonly depth: number;
  /** The file that holds the data; null where there is none. */
  readonly path: string | null;
  /** Where in that file; null where there is no data, or none as it is (compressed). */
  readonly fileOffsetBytes: number | null;
}

/**
 * What a disk is made of: in order, without gaps, neighbours of one kind and place as one. Locked against writers meanwhile.
 * @throws HvError `not-found`, `in-use`, `corrupt`, `parent-changed`, `unsupported`, `invalid-argument` (the range), `missing-dependency`, `io`, `aborted`
 */
export async function mapVhd(path: string, options: MapOptions = {}): Promise<MapEntry[]> {
  const { format, allowParents, signal, onProgress } = options;
  throwIfAborted(signal, 'mapping the disk');
  const source = await openSource(path, { format, allowParents, signal, onProgress, isRead: false });
  try {
    return await mapSource(source, options);
  } finally {
    source.close();
  }
}

async function mapSource(source: DiskSource, options: MapOptions): Promise<MapEntry[]> {
  const { offsetBytes = 0, lengthBytes = source.sizeBytes - offsetBytes, signal } = options;
  const isWithin = [offsetBytes, lengthBytes].every((value) => Number.isSafeInteger(value) && value >= 0);
  if (!isWithin || offsetBytes + lengthBytes > source.sizeBytes) {
    throw new HvError('invalid-argument', `the range is outside of the disk ${source.path}`, {
      detail: { path: source.path, offsetBytes, lengthBytes, sizeBytes: source.sizeBytes },
    });
  }
  const report = throttleProgress(options.onProgress);
  const entries: MapEntry[] = [];
  let pieces = 0;
  for (const piece of source.pieces(offsetBytes, lengthBytes)) {
    add(entries, entryOf(piece, source));
    if (entries.length > MAX_ENTRIES) {
      throw new HvError('unsupported', `${source.path} lies in more than ${MAX_ENTRIES} pieces`, {
        detail: { path: source.path, maxEntries: MAX_ENTRIES },
        hint: 'Ask for a range of it.',
      });
    }
    if (++pieces % ENTRIES_PER_TURN === 0) {
      report({ phase: 'map', done: piece.offset - offsetBytes, total: lengthBytes });
      await turn();
      throwIfAborted(signal, 'mapping the disk');
    }
  }
  report({ phase: 'map', done: lengthBytes, total: lengthBytes });
  return entries;
}

function entryOf({ offset, length, kind, depth, place }: Piece, source: DiskSource): MapEntry {
  const isData = kind === 'data';
  return {
    offsetBytes: offset,
    lengthBytes: length,
    kind: isData ? (depth === 0 ? 'data' : 'parent') : kind === 'zero' ? 'zero' : 'unmapped',
    depth,
    path: isData ? (source.files[depth]?.path ?? null) : null,
    fileOffsetBytes: isData && source.isUnpacked !== true ? (place?.fileOffset ?? null) : null,
  };
}

/** Neighbours of one kind and place are one entry. */
function add(entries: MapEntry[], next: MapEntry): void {
  const last = entries.at(-1);
  const isOne =
    last !== undefined &&
    last.kind === next.kind &&
    last.depth === next.depth &&
    last.path === next.path &&
    (last.fileOffsetBytes === null
      ? next.fileOffsetBytes === null
      : last.fileOffsetBytes + last.lengthBytes === next.fileOffsetBytes);
  if (isOne) entries[entries.length - 1] = { ...last, lengthBytes: last.lengthBytes + next.lengthBytes };
  else entries.push(next);
}
