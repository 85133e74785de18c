import { open } from 'node:fs/promises';
import { fromSystemError, HvError } from '../../errors/index.ts';
import { canonicalPath } from './disks.ts';

/** ECMA-119, 8.1 and ECMA-167, 2/9.1: volume descriptors from sector 16 on carry one of these at offset 1. */
const FIRST_DESCRIPTOR = 16 * 2048 + 1;
const IDENTIFIERS: ReadonlySet<string> = new Set(['CD001', 'BEA01', 'NSR02', 'NSR03']);
const SECTOR_BYTES = 512;

/**
 * Looks at an image for a DVD drive.
 * @returns its path without links, and what is odd about it
 * @throws HvError `not-found`, `permission-denied`, `invalid-argument` (not a regular file; no whole number of sectors)
 */
export async function examineIso(given: string): Promise<{ readonly path: string; readonly warning: string | null }> {
  const path = await canonicalPath(given);
  try {
    await using file = await open(path, 'r');
    const stat = await file.stat();
    if (!stat.isFile()) throw new HvError('invalid-argument', `${path} is not a regular file`, { detail: { path } });
    if (stat.size === 0 || stat.size % SECTOR_BYTES !== 0) {
      throw new HvError('invalid-argument', `${path} is no disc image: its size is no whole number of sectors`, {
        detail: { path, sizeBytes: stat.size },
        hint: 'It may be incomplete: copy it again.',
      });
    }
    const identifier = Buffer.alloc(5);
    await file.read(identifier, 0, identifier.length, FIRST_DESCRIPTOR);
    const isKnown = IDENTIFIERS.has(identifier.toString('latin1'));
    return { path, warning: isKnown ? null : 'The image holds neither an ISO 9660 nor a UDF volume.' };
  } catch (error) {
    throw fromSystemError(error, `cannot read the image ${path}`, { path });
  }
}
