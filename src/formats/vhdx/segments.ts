import type { ByteStore } from '../../store/index.ts';
import type { ParentDisk, Segment } from '../disk-image.ts';
import { PAYLOAD } from './format.ts';

/** What of an image says where its bytes lie. */
export interface BlockView {
  readonly store: ByteStore;
  readonly blockSizeBytes: number;
  readonly parent: ParentDisk | undefined;
  blockAt(block: number): { readonly state: number; readonly fileOffset: number };
  /** How many blocks from this one on, at most `count`, are not present. */
  emptyRun(block: number, count: number): number;
  /** How many bytes from `at` on are present here (positive) or in the parent (negative), of a partly present block. */
  bitRun(block: number, at: number, count: number): number;
}

/** Where the bytes of a range come from, in order and without gaps. */
export function* blockSegments(view: BlockView, offset: number, length: number, depth: number): Generator<Segment> {
  const { store, blockSizeBytes: blockSize } = view;
  const end = offset + length;
  for (let at = offset; at < end; ) {
    const block = Math.floor(at / blockSize);
    const inBlock = at - block * blockSize;
    let count = Math.min(end - at, blockSize - inBlock);
    const { state, fileOffset } = view.blockAt(block);
    if (state === PAYLOAD.notPresent && count < end - at) {
      // Runs of absent blocks in one: a disk of 64 TiB has millions of them.
      const blocks = view.emptyRun(block, Math.ceil((end - block * blockSize) / blockSize));
      count = Math.max(count, Math.min(end - at, blocks * blockSize - inBlock));
    }
    if (state === PAYLOAD.full) {
      yield { offset: at, length: count, kind: 'data', depth, store, fileOffset: fileOffset + inBlock };
    } else if (state === PAYLOAD.notPresent) {
      yield* parentSegments(view.parent, at, count, depth);
    } else if (state === PAYLOAD.partial) {
      for (let done = 0; done < count; ) {
        // Looked up again each time: the consumer may have done anything in between.
        const run = view.bitRun(block, at + done, count - done);
        const runLength = Math.min(Math.abs(run), count - done);
        if (run < 0) yield* parentSegments(view.parent, at + done, runLength, depth);
        else {
          const from = fileOffset + inBlock + done;
          yield { offset: at + done, length: runLength, kind: 'data', depth, store, fileOffset: from };
        }
        done += runLength;
      }
    } else {
      yield { offset: at, length: count, kind: 'zero', depth, store: undefined, fileOffset: 0 };
    }
    at += count;
  }
}

function* parentSegments(
  parent: ParentDisk | undefined,
  offset: number,
  length: number,
  depth: number,
): Generator<Segment> {
  const inParent = parent ? Math.max(0, Math.min(length, parent.sizeBytes - offset)) : 0;
  if (parent && inParent > 0) yield* parent.segments(offset, inParent, depth + 1);
  if (length > inParent) {
    const hole = { kind: 'hole', depth, store: undefined, fileOffset: 0 } as const;
    yield { offset: offset + inParent, length: length - inParent, ...hole };
  }
}
