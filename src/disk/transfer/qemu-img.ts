import { fromSystemError, HvError, isHvError } from '../../errors/index.ts';
import type { FileStore } from '../../store/index.ts';
import { type ProgramResult, runProgram } from '../../system/index.ts';
import type { ForeignFormat } from '../image-format.ts';

/** A conversion of the largest disks may take long; what is stuck must end all the same. */
const CONVERT_DEADLINE_MS = 7 * 24 * 3_600_000;
const MAP_DEADLINE_MS = 10 * 60_000;
const MAX_MAP_BYTES = 32 * 2 ** 20;
/** Far more than it needs; a hostile image must not take the system's memory. */
const LIMITS = { addressSpaceBytes: 4 * 2 ** 30 };

/** One line of `qemu-img map --output=json`. */
export interface MappedExtent {
  readonly start: number;
  readonly length: number;
  readonly present: boolean;
  readonly zero: boolean;
  readonly data: boolean;
  /** Where it lies in the file; absent for what is compressed. */
  readonly offset?: number | undefined;
}

/**
 * Names an open file to qemu-img: by its descriptor, so that it gets the very file that was looked at, whatever lies
 * under the name by now; as a document, so that nothing in a name is ever read as a protocol or an option; with the
 * format said, never probed, and with no backing file whatever the image says.
 */
function imageName(store: FileStore, format: ForeignFormat): string {
  const file = { driver: 'file', filename: descriptorPath(store) };
  return `json:${JSON.stringify({ driver: format, ...(format === 'vdi' ? {} : { backing: null }), file })}`;
}

/** A path that leads to an open file, whether or not it still has a name. */
function descriptorPath(store: FileStore): string {
  return `/proc/${process.pid}/fd/${store.fd}`;
}

/**
 * Where an image's contents lie.
 * @returns undefined when it lies in so many pieces that the answer would be too long
 * @throws HvError `missing-dependency`, `process-failed`, `timeout`, `aborted`
 */
export async function mapImage(
  store: FileStore,
  format: ForeignFormat,
  signal: AbortSignal | undefined,
): Promise<MappedExtent[] | undefined> {
  let result: ProgramResult;
  try {
    result = await qemuImg(store.name, ['map', '--output=json', imageName(store, format)], {
      deadlineMs: MAP_DEADLINE_MS,
      maxOutputBytes: MAX_MAP_BYTES,
      signal,
    });
  } catch (error) {
    if (isHvError(error, 'process-failed') && error.detail.maxOutputBytes !== undefined) return undefined;
    throw error;
  }
  try {
    // qemu-img's own answer: only the numbers in it come from the image, and each is checked where it is used.
    return JSON.parse(result.stdout.toString('utf8')) as MappedExtent[];
  } catch (error) {
    throw new HvError('protocol', `qemu-img's answer about ${store.name} was not understood`, { cause: error });
  }
}

/**
 * Writes an image's contents as they are into a file that is empty and has the disk's size: what is zero there stays a hole.
 * @throws HvError `missing-dependency`, `process-failed`, `no-space`, `aborted`
 */
export async function unpackImage(
  store: FileStore,
  format: ForeignFormat,
  target: FileStore,
  signal: AbortSignal | undefined,
): Promise<void> {
  const args = [
    'convert',
    '-q',
    '-O',
    'raw',
    '-n',
    '--target-is-zero',
    imageName(store, format),
    descriptorPath(target),
  ];
  try {
    await qemuImg(store.name, args, { deadlineMs: CONVERT_DEADLINE_MS, signal });
  } catch (error) {
    if (isHvError(error, 'process-failed') && /no space left/i.test(String(error.detail.stderrTail))) {
      throw new HvError('no-space', `no space left for ${target.name}`, {
        detail: { path: target.name },
        cause: error,
      });
    }
    throw error;
  }
}

async function qemuImg(
  path: string,
  args: readonly string[],
  options: { deadlineMs: number; maxOutputBytes?: number; signal: AbortSignal | undefined },
): Promise<ProgramResult> {
  try {
    return await runProgram('qemu-img', args, { ...options, limits: LIMITS });
  } catch (error) {
    if (isHvError(error)) throw error;
    throw fromSystemError(error, `could not run qemu-img on ${path}`, { path });
  }
}
