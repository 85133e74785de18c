import { HvError } from '../../errors/index.ts';

/** One reason for each check that a file can fail. */
const REASONS = {
  'rct-signature': 'it does not begin with the signature of a change tracking file',
  'rct-no-valid-header': 'neither of its two headers is whole',
  'rct-version': 'its version is not one that exists',
  'rct-geometry': 'its unit or region size is impossible',
  'rct-file-size': 'it is shorter than its maps',
  'rct-references': 'its list of reference points is impossible',
} as const;

export type RctCorruption = keyof typeof REASONS;

/** The error for a file that breaks the format's rules: code `corrupt`, detail {reason, offset, value}. */
export function corrupt(name: string, reason: RctCorruption, offset: number, value: number | string | bigint): HvError {
  return new HvError('corrupt', `${name} is not a sound change tracking file: ${REASONS[reason]}`, {
    detail: { path: name, format: 'rct', reason, offset, value: typeof value === 'bigint' ? value.toString() : value },
    hint: 'Switch change tracking off and on again; the next backup is a full one.',
  });
}
