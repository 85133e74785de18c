import type { VolumeBytes, VolumeIdentity } from '../file-system.ts';
import { readFatBoot } from './boot-sector.ts';
import { hasExfatName, readExfatBoot } from './exfat-boot.ts';

/** Which FAT a volume holds; undefined: none. An exFAT whose boot sector is damaged has no size. */
export function identifyFat(volume: VolumeBytes): VolumeIdentity | undefined {
  if (hasExfatName(volume)) return { kind: 'exfat', sizeBytes: readExfatBoot(volume)?.sizeBytes ?? null };
  const boot = readFatBoot(volume);
  return boot && { kind: `fat${boot.bits}`, sizeBytes: boot.sizeBytes };
}
