import { isHvError } from '../../errors/index.ts';
import type { VolumeBytes, VolumeIdentity } from '../file-system.ts';
import { hasExtMagic, readSuperblock } from './superblock.ts';

/** What kind of ext file system a volume holds; undefined: none. One whose superblock is damaged has no size. */
export function identifyExt(volume: VolumeBytes): VolumeIdentity | undefined {
  if (!hasExtMagic(volume)) return undefined;
  try {
    const { kind, blocks, blockSizeBytes } = readSuperblock(volume);
    return { kind, sizeBytes: blocks * blockSizeBytes };
  } catch (error) {
    if (isHvError(error, 'corrupt')) return { kind: 'ext4', sizeBytes: null };
    throw error;
  }
}
