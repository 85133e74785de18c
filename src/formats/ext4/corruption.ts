import { HvError } from '../../errors/index.ts';

const REASONS = {
  'super-checksum': 'its superblock has a wrong checksum',
  'super-block-size': 'its superblock gives an impossible block size',
  'super-cluster-size': 'its superblock gives an impossible cluster size',
  'super-group-size': 'its superblock gives an impossible size of block groups',
  'super-descriptor-size': 'its superblock gives an impossible size of group descriptors',
  'super-size': 'its superblock gives a size that does not fit the volume',
  'super-first-block': 'its superblock gives an impossible first block',
  'super-inodes': 'its superblock gives an impossible number or size of inodes',
  'super-reserved-blocks': 'its superblock reserves more descriptor blocks than a group holds',
  'group-checksum': 'a block group descriptor has a wrong checksum',
  'group-place': 'a block group descriptor points outside of the file system',
  'group-free-count': "a block group's count of free blocks contradicts its bitmap",
  'bitmap-checksum': 'a block bitmap has a wrong checksum',
  'bitmap-metadata-free': "a block bitmap calls blocks of the file system's own structures free",
} as const;

export type ExtCorruption = keyof typeof REASONS;

/** The error for a volume that breaks the format's rules: code `corrupt`, detail {reason, offset, value}. */
export function corrupt(reason: ExtCorruption, offset: number, value: number | bigint): HvError {
  return new HvError('corrupt', `the ext file system is damaged: ${REASONS[reason]}`, {
    detail: { format: 'ext4', reason, offset, value: typeof value === 'bigint' ? value.toString() : value },
  });
}
