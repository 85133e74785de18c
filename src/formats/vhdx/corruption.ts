import { HvError } from '../../errors/index.ts';

/** One reason for each check that a file can fail. */
export const REASONS = {
  'file-signature': 'it does not begin with the signature of a VHDX file',
  'no-valid-header': 'neither of its two headers has a valid signature and checksum',
  'headers-contradict': 'its two headers differ but claim the same age',
  'header-version': 'its version is not one that exists',
  'header-sequence': 'the sequence number of its header cannot be raised any more',
  'log-version': 'its log has contents of an unknown version',
  'log-range': 'the place of its log is impossible',
  'no-valid-region-table': 'neither of its two region tables has a valid signature and checksum',
  'region-count': 'its region table claims too many entries',
  'region-range': 'the place of a region is impossible',
  'region-overlap': 'two of its regions overlap',
  'region-duplicate': 'a region is listed twice',
  'region-missing': 'a region that every VHDX file has is missing',
  'metadata-signature': 'its metadata table has a wrong signature',
  'metadata-count': 'its metadata table claims too many entries',
  'metadata-item-range': 'the place of a metadata item is impossible',
  'metadata-item-overlap': 'two metadata items overlap',
  'metadata-item-duplicate': 'a metadata item is listed twice',
  'metadata-item-missing': 'a metadata item that every VHDX file has is missing',
  'metadata-item-size': 'a metadata item is too short',
  'block-size': 'its block size is impossible',
  'disk-size': 'its virtual size is impossible',
  'sector-size': 'its sector size is impossible',
  'incomplete-file': 'its making was never finished',
  'locator-missing': 'it says that it has a parent but not which',
  'locator-range': 'an entry of its parent locator lies outside of it',
  'locator-duplicate': 'its parent locator holds a key twice',
  'locator-linkage': 'its parent locator holds no valid parent_linkage',
  'bat-too-short': 'its block allocation table is too short for its size',
  'bat-entry-state': 'an entry of its block allocation table has an invalid state',
  'bat-entry-reserved': 'an entry of its block allocation table has reserved bits set',
  'bat-entry-offset': 'an entry of its block allocation table points at an impossible place',
  'bat-entry-beyond-end': 'an entry of its block allocation table points beyond the end of the file',
  'bat-entry-overlap': 'an entry of its block allocation table points at space that belongs to something else',
  'bitmap-missing': 'a partly present block has no sector bitmap',
  'log-no-valid-sequence': 'its log is in use but holds no complete sequence of entries',
  'log-truncated-file': 'the file is shorter than its log says it was',
  'log-descriptor-range': 'its log would write where a log must not write',
} as const;

export type VhdxCorruption = keyof typeof REASONS;

/** What is wrong with a file of which this reason holds, as a sentence. */
export function reasonText(reason: VhdxCorruption): string {
  return REASONS[reason];
}

/** The error for a file that breaks the format's rules: code `corrupt`, detail {reason, offset, value}. */
export function corrupt(
  name: string,
  reason: VhdxCorruption,
  offset: number,
  value: number | string | bigint,
): HvError {
  return new HvError('corrupt', `${name} is not a sound VHDX file: ${REASONS[reason]}`, {
    detail: { path: name, format: 'vhdx', reason, offset, value: typeof value === 'bigint' ? value.toString() : value },
  });
}
