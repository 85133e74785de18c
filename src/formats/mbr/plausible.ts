import { MBR_ACTIVE, MBR_PARTITION, MBR_PARTITION_COUNT, MBR_PARTITION_SIZE, MBR_PARTITIONS_OFFSET } from './format.ts';
import { parseMbr } from './mbr.ts';

/**
 * Whether the records of a boot sector make sense as the partitions of a disk with so many sectors. A file system that
 * fills a disk without partitions has a boot sector of its own there, with the same signature and text for records.
 * @throws HvError `corrupt` as parseMbr
 */
export function isPartitionTable(sector: Uint8Array, diskSectors: number): boolean {
  const { partitions } = parseMbr(sector);
  if (partitions.length === 0) return false;
  for (let index = 0; index < MBR_PARTITION_COUNT; index++) {
    const indicator = sector[MBR_PARTITIONS_OFFSET + index * MBR_PARTITION_SIZE + MBR_PARTITION.bootIndicator];
    if (indicator !== 0 && indicator !== MBR_ACTIVE) return false;
  }
  return partitions.every(
    ({ startSector, sizeSectors }, index) =>
      startSector > 0 &&
      sizeSectors > 0 &&
      startSector < diskSectors &&
      partitions
        .slice(0, index)
        .every(
          (other) =>
            other.startSector >= startSector + sizeSectors || startSector >= other.startSector + other.sizeSectors,
        ),
  );
}
