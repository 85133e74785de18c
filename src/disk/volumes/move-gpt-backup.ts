import { HvError } from '../../errors/index.ts';
import { GPT_PRIMARY_LBA, type GptCopy, type GptPlacement, isGptHeader, placeGpt } from '../../formats/gpt/index.ts';
import { MBR_SIZE, resizeProtectiveMbr } from '../../formats/mbr/index.ts';
import type { BlockDevice } from '../block-device.ts';
import { readPartitionTable } from './partitions.ts';

/**
 * Puts a GUID partition table where it belongs on a disk of `newSizeBytes`: its second copy at the new end, and in both
 * copies the sectors up to there as usable. Before a disk shrinks it is called with the size to come, after it has
 * grown with the size that it has. Does nothing where all is in its place, and on a disk without such a table.
 *
 * At every moment one copy is whole and where a reader looks: the new second copy is durable before the primary header
 * changes, and the old second copy goes only when that is durable. A damaged primary copy is made anew from the second.
 * @returns whether something was written
 * @throws HvError `invalid-argument` (a partition or the table itself would not fit), `corrupt` (both copies are
 *   damaged), `permission-denied`, `io`, `no-space`
 */
export async function moveGptBackup(device: BlockDevice, newSizeBytes: number): Promise<boolean> {
  const found = readPartitionTable(device);
  if (found.kind !== 'gpt') return false;
  if (newSizeBytes > device.sizeBytes) {
    throw new HvError('invalid-argument', 'a partition table cannot lie beyond the end of its disk', {
      detail: { sizeBytes: newSizeBytes, diskSizeBytes: device.sizeBytes },
    });
  }
  const { copy } = found;
  const placement = placeGpt(copy, newSizeBytes);
  for (const { offset, sizeBytes } of found.partitions) {
    if (offset + sizeBytes <= placement.backup.offset) continue;
    throw new HvError('invalid-argument', 'a partition reaches into where the second copy of its table must lie', {
      detail: { partitionEnd: offset + sizeBytes, sizeBytes: newSizeBytes },
      hint: 'Make the last partition smaller first.',
    });
  }
  const oldBackup = oldBackupOf(device, copy, placement);
  if (copy.myLba === GPT_PRIMARY_LBA && isThere(device, placement)) return fixProtective(device, newSizeBytes);
  put(device, placement.backup);
  await device.flush();
  if (copy.myLba !== GPT_PRIMARY_LBA) {
    put(device, placement.primaryTable);
    await device.flush();
  }
  put(device, placement.primaryHeader);
  await device.flush();
  if (oldBackup !== undefined) {
    // A stale header in the middle of a grown disk would be found by tools that search for lost tables.
    device.writeZeroes(oldBackup, copy.sectorSizeBytes, false);
  }
  await device.flush();
  await fixProtective(device, newSizeBytes);
  return true;
}

/** The place of the header of the second copy so far, when the disk has grown past it. */
function oldBackupOf(device: BlockDevice, copy: GptCopy, placement: GptPlacement): number | undefined {
  if (copy.myLba !== GPT_PRIMARY_LBA) return undefined;
  const offset = copy.alternateLba * copy.sectorSizeBytes;
  const isFree = offset >= (copy.lastUsableLba + 1) * copy.sectorSizeBytes;
  const isOutside = offset + copy.sectorSizeBytes <= placement.backup.offset;
  if (!isFree || !isOutside || offset + copy.sectorSizeBytes > device.sizeBytes) return undefined;
  const signature = new Uint8Array(8);
  device.read(offset, signature, 0, 8);
  return isGptHeader(signature) ? offset : undefined;
}

function isThere(device: BlockDevice, { backup, primaryHeader }: GptPlacement): boolean {
  return [backup, primaryHeader].every(({ offset, bytes }) => {
    const now = new Uint8Array(bytes.length);
    device.read(offset, now, 0, now.length);
    return Buffer.compare(now, bytes) === 0;
  });
}

function put(device: BlockDevice, { offset, bytes }: { readonly offset: number; readonly bytes: Uint8Array }): void {
  device.write(offset, bytes, 0, bytes.length);
}

/** The record in the boot sector covers the whole disk, as far as 32 bits reach. @returns whether it changed */
async function fixProtective(device: BlockDevice, newSizeBytes: number): Promise<boolean> {
  const sector = new Uint8Array(MBR_SIZE);
  device.read(0, sector, 0, MBR_SIZE);
  const changed = resizeProtectiveMbr(sector, Math.floor(newSizeBytes / device.logicalSectorSizeBytes));
  if (!changed) return false;
  device.write(0, changed, 0, MBR_SIZE);
  await device.flush();
  return true;
}
