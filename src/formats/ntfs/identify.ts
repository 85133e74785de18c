import { isHvError } from '../../errors/index.ts';
import type { VolumeBytes, VolumeIdentity } from '../file-system.ts';
import { hasNtfsName, readNtfsBoot } from './boot-sector.ts';

/** Whether a volume holds NTFS; undefined: it does not. One whose boot sector is damaged has no size. */
export function identifyNtfs(volume: VolumeBytes): VolumeIdentity | undefined {
  if (!hasNtfsName(volume)) return undefined;
  try {
    const { totalSectors, sectorSizeBytes } = readNtfsBoot(volume);
    // The copy of the boot sector follows what counts as the volume's sectors.
    return { kind: 'ntfs', sizeBytes: (totalSectors + 1) * sectorSizeBytes };
  } catch (error) {
    if (isHvError(error, 'corrupt')) return { kind: 'ntfs', sizeBytes: null };
    throw error;
  }
}
