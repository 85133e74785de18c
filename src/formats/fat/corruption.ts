import { HvError } from '../../errors/index.ts';

const REASONS = {
  size: 'its boot sector gives a size that does not fit the volume',
  'fat-too-short': 'its table has fewer entries than the volume has clusters',
  'copies-differ': 'the copies of its table differ',
  'exfat-shape': 'its boot sector gives an impossible shape',
  'exfat-chain': 'a chain of clusters leaves the volume or does not end',
  'exfat-bitmap': 'its allocation bitmap is missing or too short',
  'exfat-metadata-free': "its allocation bitmap calls clusters of the file system's own structures free",
} as const;

export type FatCorruption = keyof typeof REASONS;

/** The error for a volume that breaks the format's rules: code `corrupt`, detail {reason, offset, value}. */
export function corrupt(reason: FatCorruption, offset: number, value: number | bigint): HvError {
  return new HvError('corrupt', `the FAT file system is damaged: ${REASONS[reason]}`, {
    detail: { format: 'fat', reason, offset, value: typeof value === 'bigint' ? value.toString() : value },
  });
}
