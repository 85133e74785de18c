import { HvError } from '../../errors/index.ts';

/** One reason for each check that a file can fail. */
const REASONS = {
  'no-footer': 'it holds no footer with a valid signature and checksum',
  'footer-version': 'its version is not one that exists',
  'disk-type': 'its type is not one that exists',
  'disk-size': 'its virtual size is impossible',
  'header-range': 'the place of its dynamic header is impossible',
  'header-signature': 'its dynamic header has a wrong signature',
  'header-checksum': 'the checksum of its dynamic header is wrong',
  'header-version': 'the version of its dynamic header is not one that exists',
  'block-size': 'its block size is impossible',
  'bat-count': 'its block allocation table claims an impossible number of entries',
  'bat-range': 'the place of its block allocation table is impossible',
  'bat-too-short': 'its block allocation table is too short for its size',
  'bat-entry-offset': 'an entry of its block allocation table points at an impossible place',
  'bat-entry-beyond-end': 'an entry of its block allocation table points beyond the end of the file',
  'bat-entry-overlap': 'two entries of its block allocation table point at the same space',
  'locator-range': 'the place of one of its parent locators is impossible',
} as const;

export type VhdCorruption = keyof typeof REASONS;

export function isVhdCorruption(reason: string): reason is VhdCorruption {
  return reason in REASONS;
}

/** What a reason means, as a clause about the file. */
export function corruptionText(reason: VhdCorruption): string {
  return REASONS[reason];
}

/** The error for a file that breaks the format's rules: code `corrupt`, detail {reason, offset, value}. */
export function corrupt(name: string, reason: VhdCorruption, offset: number, value: number | string | bigint): HvError {
  return new HvError('corrupt', `${name} is not a sound VHD file: ${REASONS[reason]}`, {
    detail: { path: name, format: 'vhd', reason, offset, value: typeof value === 'bigint' ? value.toString() : value },
  });
}
