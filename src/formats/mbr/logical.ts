import { HvError } from '../../errors/index.ts';
import { MBR_TYPES_EXTENDED } from './format.ts';
import { type MbrPartition, parseMbr } from './mbr.ts';

/** No disk has so many; a chain that is longer goes round. */
const MAX_LOGICAL = 256;

/** Whether a partition is only a container of others. */
export function isExtended(partition: Pick<MbrPartition, 'type'>): boolean {
  return MBR_TYPES_EXTENDED.includes(partition.type);
}

/**
 * The partitions inside an extended one, `startSector` counted from the disk's first sector. Each table of the chain
 * names one partition, counted from the table, and the next table, counted from the extended partition's start.
 * @param readSector gives the sector with this number, at least 512 bytes
 * @throws HvError `corrupt`: a table without signature, or a chain that leaves its partition or does not end
 */
export function readLogicalPartitions(
  readSector: (sector: number) => Uint8Array,
  extended: MbrPartition,
): MbrPartition[] {
  const found: MbrPartition[] = [];
  const end = extended.startSector + extended.sizeSectors;
  const seen = new Set<number>();
  let at: number | undefined = extended.startSector;
  while (at !== undefined) {
    if (at < extended.startSector || at >= end || seen.has(at) || seen.size >= MAX_LOGICAL) {
      throw new HvError('corrupt', 'the chain of logical partitions leaves its place or does not end', {
        detail: { reason: 'mbr-logical-chain', value: at },
      });
    }
    seen.add(at);
    const table = parseMbr(readSector(at));
    let next: number | undefined;
    for (const partition of table.partitions) {
      if (isExtended(partition)) next ??= extended.startSector + partition.startSector;
      else found.push({ ...partition, startSector: at + partition.startSector });
    }
    at = next;
  }
  return found;
}
