import { safeNumber } from '../../binary/index.ts';
import type { VolumeBytes } from '../file-system.ts';
import { corrupt } from './corruption.ts';
import { BOOT_AT, NTFS_NAME, NTFS_SECTOR_SIGNATURE } from './format.ts';

const MAX_CLUSTER_BYTES = 2 * 1024 * 1024;
const MAX_RECORD_BYTES = 65_536;

/** What the boot sector says, checked against itself and the volume's size. */
export interface NtfsBoot {
  readonly sectorSizeBytes: number;
  readonly clusterSizeBytes: number;
  /** Without the last sector, which holds a copy of the boot sector. */
  readonly totalSectors: number;
  readonly clusters: number;
  readonly mftCluster: number;
  readonly mftMirrorCluster: number;
  readonly recordBytes: number;
  readonly indexBlockBytes: number;
}

/** Whether a boot sector names the file system. */
export function hasNtfsName(volume: VolumeBytes): boolean {
  const bytes = volume.read(0, 512);
  const signature = (bytes[BOOT_AT.signature] ?? 0) + (bytes[BOOT_AT.signature + 1] ?? 0) * 256;
  const name = Buffer.from(bytes.subarray(BOOT_AT.name, BOOT_AT.name + 8)).toString('latin1');
  return name === NTFS_NAME && signature === NTFS_SECTOR_SIGNATURE;
}

/** @throws HvError `corrupt`; a volume without the name must not come here */
export function readNtfsBoot(volume: VolumeBytes): NtfsBoot {
  const bytes = volume.read(0, 512);
  const view = new DataView(bytes.buffer, bytes.byteOffset, 512);
  const sectorSizeBytes = view.getUint16(BOOT_AT.bytesPerSector, true);
  if (![512, 1024, 2048, 4096].includes(sectorSizeBytes)) {
    throw corrupt('boot-sector-size', BOOT_AT.bytesPerSector, sectorSizeBytes);
  }
  const rawCluster = view.getUint8(BOOT_AT.sectorsPerCluster);
  // Above 128 it is the negative of a power of two.
  const sectorsPerCluster = rawCluster <= 128 ? rawCluster : 2 ** (256 - rawCluster);
  const clusterSizeBytes = sectorsPerCluster * sectorSizeBytes;
  const isPower = Number.isInteger(Math.log2(sectorsPerCluster));
  if (sectorsPerCluster === 0 || !isPower || clusterSizeBytes > MAX_CLUSTER_BYTES) {
    throw corrupt('boot-cluster-size', BOOT_AT.sectorsPerCluster, rawCluster);
  }
  const totalSectors = safeNumber(view.getBigUint64(BOOT_AT.totalSectors, true));
  if (totalSectors === undefined || totalSectors < 16 || totalSectors > 2 ** 52 / sectorSizeBytes) {
    throw corrupt('boot-size', BOOT_AT.totalSectors, view.getBigUint64(BOOT_AT.totalSectors, true));
  }
  const clusters = Math.floor(totalSectors / sectorsPerCluster);
  const cluster = (at: number): number => {
    const value = safeNumber(view.getBigUint64(at, true));
    if (value === undefined || value >= clusters) throw corrupt('boot-mft-place', at, view.getBigUint64(at, true));
    return value;
  };
  const structureBytes = (at: number): number => {
    const raw = view.getInt8(at);
    const size = raw > 0 ? raw * clusterSizeBytes : 2 ** -raw;
    const isSound = size >= 512 && size <= MAX_RECORD_BYTES && Number.isInteger(Math.log2(size));
    if (!isSound) throw corrupt('boot-record-size', at, raw);
    return size;
  };
  return {
    sectorSizeBytes,
    clusterSizeBytes,
    totalSectors,
    clusters,
    mftCluster: cluster(BOOT_AT.mftCluster),
    mftMirrorCluster: cluster(BOOT_AT.mftMirrorCluster),
    recordBytes: structureBytes(BOOT_AT.recordSize),
    indexBlockBytes: structureBytes(BOOT_AT.indexBlockSize),
  };
}
