import { HvError } from '../../errors/index.ts';

const REASONS = {
  'boot-sector-size': 'its boot sector gives an impossible sector size',
  'boot-cluster-size': 'its boot sector gives an impossible cluster size',
  'boot-record-size': 'its boot sector gives an impossible size of file records',
  'boot-size': 'its boot sector gives a size that does not fit the volume',
  'boot-mft-place': 'its boot sector places the master file table outside of the volume',
  'record-magic': 'a file record does not begin as one',
  'record-not-in-use': 'a file record that every volume has is not in use',
  'update-sequence': 'a structure was written only in part, or its update sequence is impossible',
  'attribute-bounds': 'an attribute does not fit its record',
  'attribute-missing': 'an attribute that every volume has is not there',
  'attribute-list': 'an attribute list is impossible',
  'runs-bounds': 'the runs of an attribute are impossible or leave the volume',
  'runs-hole': 'a system file has a hole where it must have space',
  'index-bounds': 'a directory index is impossible',
  'bitmap-short': 'the cluster bitmap is shorter than the volume',
  'bitmap-metadata-free': "the cluster bitmap calls clusters of the file system's own files free",
  'log-restart': 'the log has no sound restart page',
} as const;

export type NtfsCorruption = keyof typeof REASONS;

/** The error for a volume that breaks the format's rules: code `corrupt`, detail {reason, offset, value}. */
export function corrupt(reason: NtfsCorruption, offset: number, value: number | bigint): HvError {
  return new HvError('corrupt', `the NTFS file system is damaged: ${REASONS[reason]}`, {
    detail: { format: 'ntfs', reason, offset, value: typeof value === 'bigint' ? value.toString() : value },
  });
}
