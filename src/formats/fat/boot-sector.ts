import type { VolumeBytes } from '../file-system.ts';
import {
  DIRECTORY_ENTRY_BYTES,
  FAT_AT,
  FAT_SIGNATURE,
  FAT_SIGNATURE_AT,
  FAT16_MIN_CLUSTERS,
  FAT32_MAX_CLUSTERS,
  FAT32_MIN_CLUSTERS,
  FAT32_NOT_MIRRORED,
} from './format.ts';

/** What the boot sector says, checked against itself. */
export interface FatBoot {
  readonly bits: 12 | 16 | 32;
  readonly sectorSizeBytes: number;
  readonly clusterSizeBytes: number;
  readonly sizeBytes: number;
  readonly clusters: number;
  /** Where the tables start, how long one is, and how many are kept alike. */
  readonly fatOffset: number;
  readonly fatBytes: number;
  readonly fatCount: number;
  /** Of a table that is kept alone: its number. */
  readonly activeFat: number | undefined;
  /** Where cluster 2 starts. */
  readonly dataOffset: number;
  /** Windows NT's flags: dirty, to be scanned. */
  readonly flags: number;
}

/**
 * Reads the boot sector of a FAT volume; undefined where it is none. It has no magic of its own: what makes it one is
 * that all of it makes sense (section 3).
 */
export function readFatBoot(volume: VolumeBytes): FatBoot | undefined {
  const bytes = volume.read(0, 512);
  const view = new DataView(bytes.buffer, bytes.byteOffset, 512);
  if (view.getUint16(FAT_SIGNATURE_AT, true) !== FAT_SIGNATURE) return undefined;
  const jump = view.getUint8(FAT_AT.jump);
  if (jump !== 0xeb && jump !== 0xe9) return undefined;
  const sectorSizeBytes = view.getUint16(FAT_AT.bytesPerSector, true);
  const sectorsPerCluster = view.getUint8(FAT_AT.sectorsPerCluster);
  const reserved = view.getUint16(FAT_AT.reservedSectors, true);
  const fatCount = view.getUint8(FAT_AT.fatCount);
  const media = view.getUint8(FAT_AT.media);
  const isShaped =
    [512, 1024, 2048, 4096].includes(sectorSizeBytes) &&
    sectorsPerCluster > 0 &&
    (sectorsPerCluster & (sectorsPerCluster - 1)) === 0 &&
    reserved > 0 &&
    fatCount >= 1 &&
    fatCount <= 4 &&
    (media === 0xf0 || media >= 0xf8);
  if (!isShaped) return undefined;
  const rootEntries = view.getUint16(FAT_AT.rootEntries, true);
  const fatSectors16 = view.getUint16(FAT_AT.fatSectors16, true);
  const fatSectors = fatSectors16 || view.getUint32(FAT_AT.fatSectors32, true);
  const totalSectors = view.getUint16(FAT_AT.totalSectors16, true) || view.getUint32(FAT_AT.totalSectors32, true);
  const rootSectors = Math.ceil((rootEntries * DIRECTORY_ENTRY_BYTES) / sectorSizeBytes);
  const dataSector = reserved + fatCount * fatSectors + rootSectors;
  if (fatSectors === 0 || totalSectors <= dataSector) return undefined;
  const clusters = Math.floor((totalSectors - dataSector) / sectorsPerCluster);
  const bits = clusters < FAT16_MIN_CLUSTERS ? 12 : clusters < FAT32_MIN_CLUSTERS ? 16 : 32;
  // What only FAT32 has must be there in FAT32 alone; small volumes made as FAT32 on purpose are nobody's to guess.
  if ((bits === 32) !== (fatSectors16 === 0) || (bits === 32) !== (rootEntries === 0)) return undefined;
  if (clusters === 0 || clusters > FAT32_MAX_CLUSTERS) return undefined;
  const extended = bits === 32 ? view.getUint16(FAT_AT.extendedFlags32, true) : 0;
  const isMirrored = (extended & FAT32_NOT_MIRRORED) === 0;
  return {
    bits,
    sectorSizeBytes,
    clusterSizeBytes: sectorsPerCluster * sectorSizeBytes,
    sizeBytes: totalSectors * sectorSizeBytes,
    clusters,
    fatOffset: reserved * sectorSizeBytes,
    fatBytes: fatSectors * sectorSizeBytes,
    fatCount,
    activeFat: isMirrored ? undefined : extended & 0xf,
    dataOffset: dataSector * sectorSizeBytes,
    flags: view.getUint8(bits === 32 ? FAT_AT.flags32 : FAT_AT.flags16),
  };
}
