import { type FileSystem, type FreeRange, joinRanges, type VolumeBytes, type VolumeState } from '../file-system.ts';
import { type FatBoot, readFatBoot } from './boot-sector.ts';
import { corrupt } from './corruption.ts';
import { hasExfatName } from './exfat-boot.ts';
import { readExfat } from './exfat-volume.ts';
import { FAT16_CLEAN, FAT16_NO_ERRORS, FAT32_CLEAN, FAT32_NO_ERRORS } from './format.ts';

/** A multiple of 12 bits, 16 and 32, and of a sector. */
const PIECE_BYTES = 3 * 64 * 1024;

/**
 * Reads a FAT12, FAT16, FAT32 or exFAT volume: what state it is in and which of its clusters are free.
 * @returns undefined where there is none
 * @throws HvError `corrupt`, `io`
 */
export function readFat(volume: VolumeBytes): FileSystem | undefined {
  if (hasExfatName(volume)) return readExfat(volume);
  const boot = readFatBoot(volume);
  if (!boot) return undefined;
  const { bits, sizeBytes, clusterSizeBytes, clusters, fatBytes, fatCount, activeFat } = boot;
  if (sizeBytes > volume.sizeBytes) throw corrupt('size', 0, sizeBytes);
  if (Math.floor((fatBytes * 8) / bits) < clusters + 2) throw corrupt('fat-too-short', boot.fatOffset, fatBytes);
  if (activeFat !== undefined && activeFat >= fatCount) throw corrupt('fat-too-short', boot.fatOffset, activeFat);
  return {
    kind: `fat${bits}`,
    sizeBytes,
    blockSizeBytes: clusterSizeBytes,
    ...stateOf(volume, boot),
    freeRanges: () => joinRanges(freeRanges(volume, boot)),
  };
}

function stateOf(volume: VolumeBytes, boot: FatBoot): { readonly state: VolumeState; readonly why: string } {
  if ((boot.flags & 1) !== 0) return { state: 'dirty', why: 'its dirty flag is set' };
  if ((boot.flags & 2) !== 0) return { state: 'dirty', why: 'it is marked to be scanned' };
  const offset = boot.fatOffset + (boot.activeFat ?? 0) * boot.fatBytes;
  const entries = volume.read(offset, 8);
  const view = new DataView(entries.buffer, entries.byteOffset, 8);
  // FAT12 has no such bits.
  if (boot.bits === 12) return { state: 'clean', why: '' };
  const entry = boot.bits === 16 ? view.getUint16(2, true) : view.getUint32(4, true);
  const [clean, noErrors] = boot.bits === 16 ? [FAT16_CLEAN, FAT16_NO_ERRORS] : [FAT32_CLEAN, FAT32_NO_ERRORS];
  if ((entry & clean) === 0) return { state: 'dirty', why: 'it was not unmounted' };
  if ((entry & noErrors) === 0) return { state: 'dirty', why: 'it has noted errors of its disk' };
  return { state: 'clean', why: '' };
}

function* freeRanges(volume: VolumeBytes, boot: FatBoot): Generator<FreeRange> {
  const { bits, clusters, fatOffset, fatBytes, fatCount, activeFat, dataOffset, clusterSizeBytes } = boot;
  const perPiece = (PIECE_BYTES * 8) / bits;
  const end = clusters + 2;
  for (let firstEntry = 0; firstEntry < end; firstEntry += perPiece) {
    const count = Math.min(perPiece, end - firstEntry);
    const at = (firstEntry * bits) / 8;
    const length = Math.ceil((count * bits) / 8);
    const piece = volume.read(fatOffset + (activeFat ?? 0) * fatBytes + at, length);
    // Copies that should be alike and are not: nobody knows which one is right.
    for (let copy = 1; activeFat === undefined && copy < fatCount; copy++) {
      const other = volume.read(fatOffset + copy * fatBytes + at, length);
      if (Buffer.compare(piece, other) !== 0) throw corrupt('copies-differ', fatOffset + copy * fatBytes + at, copy);
    }
    const entryAt = entryReader(piece, bits);
    let start = -1;
    for (let index = 0; index <= count; index++) {
      const isFree = index < count && firstEntry + index >= 2 && entryAt(index) === 0;
      if (isFree && start < 0) start = index;
      if (isFree || start < 0) continue;
      const offset = dataOffset + (firstEntry + start - 2) * clusterSizeBytes;
      yield { offset, length: (index - start) * clusterSizeBytes };
      start = -1;
    }
  }
}

function entryReader(bytes: Uint8Array, bits: 12 | 16 | 32): (index: number) => number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bits === 16) return (index) => view.getUint16(index * 2, true);
  // The upper four bits of an entry of FAT32 are reserved (4.1).
  if (bits === 32) return (index) => view.getUint32(index * 4, true) & 0x0fff_ffff;
  return (index) => {
    const at = Math.floor(index * 1.5);
    const word = (bytes[at] ?? 0) + (bytes[at + 1] ?? 0) * 256;
    return index % 2 === 0 ? word & 0xfff : word >> 4;
  };
}
