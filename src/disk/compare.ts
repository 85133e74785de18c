import { type LongOptions, throttleProgress, throwIfAborted } from '../async/index.ts';
import type { ImageFormat } from './image-format.ts';
import { type DiskSource, openSource } from './transfer/disk-source.ts';
import { pairedRuns } from './transfer/paired-runs.ts';
import { firstDifference, turn, ZEROS } from './transfer/scan.ts';

const BUFFER_BYTES = ZEROS.length;
/** So much is compared between two turns of everything else in the process. */
const TURN_BYTES = 16 * BUFFER_BYTES;

export interface CompareOptions extends LongOptions {
  /** Default: what each name's ending says; never guessed from what is in the files. */
  readonly firstFormat?: ImageFormat | undefined;
  readonly secondFormat?: ImageFormat | undefined;
  /** Disks of different sizes differ. Default: what only the larger one has must be zeros. */
  readonly strict?: boolean | undefined;
  /** Where parents may lie beside their children's own folders. */
  readonly allowParents?: readonly string[] | undefined;
}

export interface CompareResult {
  readonly equal: boolean;
  /** Where the disks differ first; null where they do not. */
  readonly firstDifferenceBytes: number | null;
  readonly firstSizeBytes: number;
  readonly secondSizeBytes: number;
  /** How much had to be read of either to know. */
  readonly comparedBytes: number;
}

/**
 * Compares what two disks of any formats hold. Only what is data in either is read; what one holds and the other does
 * not must be zeros. Both are locked against writers meanwhile.
 * @throws HvError `not-found`, `in-use`, `corrupt`, `parent-changed`, `unsupported`, `missing-dependency`, `permission-denied`, `io`, `aborted`
 */
export async function compareVhds(
  firstPath: string,
  secondPath: string,
  options: CompareOptions = {},
): Promise<CompareResult> {
  const { signal, onProgress, allowParents } = options;
  throwIfAborted(signal, 'comparing the disks');
  const shared = { allowParents, signal, onProgress };
  const first = await openSource(firstPath, { ...shared, format: options.firstFormat });
  try {
    const second = await openSource(secondPath, { ...shared, format: options.secondFormat });
    try {
      return await compareSources(first, second, options);
    } finally {
      second.close();
    }
  } finally {
    first.close();
  }
}

async function compareSources(first: DiskSource, second: DiskSource, options: CompareOptions): Promise<CompareResult> {
  const sizes = { firstSizeBytes: first.sizeBytes, secondSizeBytes: second.sizeBytes };
  const smaller = Math.min(first.sizeBytes, second.sizeBytes);
  const total = Math.max(first.sizeBytes, second.sizeBytes);
  const report = throttleProgress(options.onProgress);
  const a = Buffer.allocUnsafe(BUFFER_BYTES);
  const b = Buffer.allocUnsafe(BUFFER_BYTES);
  let compared = 0;
  let turnAt = 0;
  const answer = (offset: number | null): CompareResult => ({
    equal: offset === null,
    firstDifferenceBytes: offset,
    ...sizes,
    comparedBytes: compared,
  });
  for (const run of pairedRuns(first, second)) {
    // In a strict comparison the end of the smaller disk is the first difference, unless one came before.
    if (options.strict === true && run.offset >= smaller) break;
    for (let done = 0; done < run.length; ) {
      const count = Math.min(BUFFER_BYTES, run.length - done);
      run.first?.store.read(run.first.fileOffset + done, a, 0, count);
      run.second?.store.read(run.second.fileOffset + done, b, 0, count);
      const at = firstDifference(run.first ? a : ZEROS, run.second ? b : ZEROS, count);
      compared += count;
      if (at !== undefined) {
        const offset = run.offset + done + at;
        return answer(options.strict === true ? Math.min(offset, smaller) : offset);
      }
      done += count;
      if (compared >= turnAt) {
        turnAt = compared + TURN_BYTES;
        report({ phase: 'compare', done: run.offset + done, total });
        await turn();
        throwIfAborted(options.signal, 'comparing the disks');
      }
    }
  }
  report({ phase: 'compare', done: total, total });
  return answer(options.strict === true && smaller !== total ? smaller : null);
}
