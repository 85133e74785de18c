import { createHash } from 'node:crypto';
import { type LongOptions, throttleProgress, throwIfAborted } from '../async/index.ts';
import type { ImageFormat } from './image-format.ts';
import { dataRuns } from './transfer/data-runs.ts';
import { type DiskSource, openSource } from './transfer/disk-source.ts';
import { turn, ZEROS } from './transfer/scan.ts';

const BUFFER_BYTES = ZEROS.length;
/** So much is hashed between two turns of everything else in the process. */
const TURN_BYTES = 16 * BUFFER_BYTES;

export interface HashOptions extends LongOptions {
  /** Default: what the name's ending says. */
  readonly format?: ImageFormat | undefined;
  /** Where parents may lie beside their children's own folders. */
  readonly allowParents?: readonly string[] | undefined;
}

export interface HashResult {
  readonly algorithm: 'sha256';
  /** Lower-case hexadecimal. */
  readonly hash: string;
  readonly virtualSizeBytes: number;
  /** How much of the disk is data; the rest is zeros that were not read. */
  readonly dataBytes: number;
}

/**
 * The SHA-256 of everything that the disk holds, as a raw file with the same contents has it. What reads as zero is
 * hashed without being read. Locked against writers meanwhile.
 * @throws HvError `not-found`, `in-use`, `corrupt`, `parent-changed`, `unsupported`, `missing-dependency`, `io`, `aborted`
 */
export async function hashVhd(path: string, options: HashOptions = {}): Promise<HashResult> {
  throwIfAborted(options.signal, 'hashing the disk');
  const source = await openSource(path, options);
  try {
    return await hashSource(source, options);
  } finally {
    source.close();
  }
}

async function hashSource(source: DiskSource, options: LongOptions): Promise<HashResult> {
  const report = throttleProgress(options.onProgress);
  const total = source.sizeBytes;
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  let hashed = 0;
  let turnAt = TURN_BYTES;
  let dataBytes = 0;
  const take = async (bytes: Buffer): Promise<void> => {
    hash.update(bytes);
    hashed += bytes.length;
    if (hashed < turnAt) return;
    turnAt = hashed + TURN_BYTES;
    report({ phase: 'hash', done: hashed, total });
    await turn();
    throwIfAborted(options.signal, 'hashing the disk');
  };
  const zerosUpTo = async (end: number): Promise<void> => {
    while (hashed < end) await take(ZEROS.subarray(0, Math.min(ZEROS.length, end - hashed)));
  };
  for (const { offset, length, place } of dataRuns(source, 0, total)) {
    await zerosUpTo(offset);
    dataBytes += length;
    for (let done = 0; done < length; ) {
      const count = Math.min(BUFFER_BYTES, length - done);
      place.store.read(place.fileOffset + done, buffer, 0, count);
      await take(buffer.subarray(0, count));
      done += count;
    }
  }
  await zerosUpTo(total);
  report({ phase: 'hash', done: total, total });
  return { algorithm: 'sha256', hash: hash.digest('hex'), virtualSizeBytes: total, dataBytes };
}
