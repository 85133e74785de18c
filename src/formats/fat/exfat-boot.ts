import type { VolumeBytes } from '../file-system.ts';
import { EXFAT_AT, EXFAT_NAME, FAT_SIGNATURE, FAT_SIGNATURE_AT, FAT32_MAX_CLUSTERS } from './format.ts';

/** What the boot sector of exFAT says, checked against itself. */
export interface ExfatBoot {
  readonly clusterSizeBytes: number;
  readonly sizeBytes: number;
  readonly clusters: number;
  readonly fatOffset: number;
  readonly fatBytes: number;
  readonly fatCount: number;
  readonly heapOffset: number;
  readonly rootCluster: number;
  readonly major: number;
  readonly flags: number;
}

/** Whether a boot sector names the file system; what old readers would look at is zero then (3.1.3). */
export function hasExfatName(volume: VolumeBytes): boolean {
  const bytes = volume.read(0, 512);
  const signature = (bytes[FAT_SIGNATURE_AT] ?? 0) + (bytes[FAT_SIGNATURE_AT + 1] ?? 0) * 256;
  const name = Buffer.from(bytes.subarray(EXFAT_AT.name, EXFAT_AT.name + 8)).toString('latin1');
  return name === EXFAT_NAME && signature === FAT_SIGNATURE && bytes[EXFAT_AT.mustBeZero] === 0;
}

/** Undefined where the boot sector contradicts itself (3.1). */
export function readExfatBoot(volume: VolumeBytes): ExfatBoot | undefined {
  const bytes = volume.read(0, 512);
  const view = new DataView(bytes.buffer, bytes.byteOffset, 512);
  const sectorShift = view.getUint8(EXFAT_AT.sectorShift);
  const clusterShift = view.getUint8(EXFAT_AT.clusterShift);
  if (sectorShift < 9 || sectorShift > 12 || clusterShift > 25 - sectorShift) return undefined;
  const sector = 2 ** sectorShift;
  const clusterSizeBytes = sector * 2 ** clusterShift;
  const sizeBytes = Number(view.getBigUint64(EXFAT_AT.volumeLength, true)) * sector;
  const clusters = view.getUint32(EXFAT_AT.clusterCount, true);
  const fatOffset = view.getUint32(EXFAT_AT.fatOffset, true) * sector;
  const fatBytes = view.getUint32(EXFAT_AT.fatLength, true) * sector;
  const fatCount = view.getUint8(EXFAT_AT.fatCount);
  const heapOffset = view.getUint32(EXFAT_AT.heapOffset, true) * sector;
  const rootCluster = view.getUint32(EXFAT_AT.rootCluster, true);
  const isShaped =
    sizeBytes <= 2 ** 52 &&
    clusters > 0 &&
    clusters <= FAT32_MAX_CLUSTERS &&
    (fatCount === 1 || fatCount === 2) &&
    fatOffset >= 24 * sector &&
    fatBytes >= (clusters + 2) * 4 &&
    heapOffset >= fatOffset + fatBytes * fatCount &&
    heapOffset + clusters * clusterSizeBytes <= sizeBytes &&
    rootCluster >= 2 &&
    rootCluster < clusters + 2;
  if (!isShaped) return undefined;
  return {
    clusterSizeBytes,
    sizeBytes,
    clusters,
    fatOffset,
    fatBytes,
    fatCount,
    heapOffset,
    rootCluster,
    major: view.getUint8(EXFAT_AT.revision + 1),
    flags: view.getUint16(EXFAT_AT.flags, true),
  };
}
