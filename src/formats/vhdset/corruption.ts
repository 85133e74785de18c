import { HvError } from '../../errors/index.ts';

/** One reason for each check that a container can fail. */
const REASONS = {
  'file-signature': 'it does not begin with the signature of a VHD Set of hv',
  'file-page': 'its first page has a wrong checksum',
  'no-valid-state': 'neither of its two headers leads to a state with a valid checksum',
  'state-text': 'its state is no text of the expected form',
  'state-field': 'a field of its state is missing, of a wrong kind, or too long',
  'state-count': 'its state lists more than a set may hold',
  'state-duplicate': 'its state lists something twice',
  'state-link': 'its state names a file or snapshot that it does not list',
  'state-loop': 'files or snapshots of its state stand on themselves',
} as const;

export type VhdSetCorruption = keyof typeof REASONS;

/** The error for a container that breaks the format's rules: code `corrupt`, detail {reason, offset, value}. */
export function corrupt(name: string, reason: VhdSetCorruption, offset: number, value: number | string): HvError {
  const shown = typeof value === 'string' ? value.slice(0, 100) : value;
  return new HvError('corrupt', `${name} is not a sound VHD Set: ${REASONS[reason]}`, {
    detail: { path: name, format: 'vhdset', reason, offset, value: shown },
  });
}
