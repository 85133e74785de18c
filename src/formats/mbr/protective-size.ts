import { MBR_PARTITION_COUNT, MBR_PARTITION_SIZE, MBR_PARTITIONS_OFFSET, MBR_TYPE_GPT_PROTECTIVE } from './format.ts';
import { parseMbr, protectiveMbr } from './mbr.ts';

/**
 * A boot sector whose protective record covers a disk of another size; undefined where nothing is to change: the record
 * fits already, or there are others beside it, which some tool keeps in step with the GPT (a hybrid table).
 * @throws HvError `corrupt` as parseMbr
 */
export function resizeProtectiveMbr(sector: Uint8Array, diskSectors: number): Uint8Array | undefined {
  const [first, ...others] = parseMbr(sector).partitions;
  if (!first || others.length > 0 || first.type !== MBR_TYPE_GPT_PROTECTIVE || first.startSector !== 1) {
    return undefined;
  }
  const made = protectiveMbr(diskSectors);
  if (parseMbr(made).partitions[0]?.sizeSectors === first.sizeSectors) return undefined;
  const changed = sector.slice();
  const end = MBR_PARTITIONS_OFFSET + MBR_PARTITION_COUNT * MBR_PARTITION_SIZE;
  changed.set(made.subarray(MBR_PARTITIONS_OFFSET, end), MBR_PARTITIONS_OFFSET);
  return changed;
}
