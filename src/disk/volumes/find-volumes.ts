import { isHvError } from '../../errors/index.ts';
import { readExt } from '../../formats/ext4/index.ts';
import { readFat } from '../../formats/fat/index.ts';
import type { FileSystem, FreeRange, VolumeBytes, VolumeState } from '../../formats/file-system.ts';
import { isExtended } from '../../formats/mbr/index.ts';
import { readNtfs } from '../../formats/ntfs/index.ts';
import type { BlockDevice } from '../block-device.ts';
import { type Identified, identifyVolume } from './identify.ts';
import { type Partition, type PartitionTable, readerOf, readPartitionTable } from './partitions.ts';

/** A place of a disk that can hold a file system, and what is there. */
export interface Volume {
  /** Where it starts on the disk. */
  readonly offset: number;
  /** Of the partition, or of the disk that has none. */
  readonly sizeBytes: number;
  readonly kind: Identified['kind'] | 'unknown';
  readonly state: VolumeState | 'unknown';
  /** What made it this state, as the end of a sentence; empty when clean. */
  readonly why: string;
  /** The file system's unit; null where hv cannot tell. */
  readonly blockSizeBytes: number | null;
  /** How much of it is free; null unless it is clean. */
  readonly freeBytes: number | null;
  /** The free space in bytes of the disk, in order; empty unless it is clean. */
  freeRanges(): Iterable<FreeRange>;
}

type Readable = Pick<BlockDevice, 'sizeBytes' | 'logicalSectorSizeBytes' | 'read'>;

/**
 * The volumes of a disk, in its order. The free space of those that are clean has been gone through once: asking for it
 * again finds the same as long as nobody writes to the disk. Whatever a disk holds, the answer is a list.
 * @throws HvError `io`, `corrupt` (the image, never what lies in it)
 */
export function findVolumes(device: Readable): Volume[] {
  const volumes = listVolumes(device);
  // A sleeping system has every volume of its disk mounted, those without a trace of it too.
  const why = 'a system sleeps in another volume of its disk';
  if (!volumes.some(({ state }) => state === 'hibernated')) return volumes;
  return volumes.map((volume) =>
    volume.state === 'clean'
      ? { ...unread(volume, volume, 'hibernated', why), blockSizeBytes: volume.blockSizeBytes }
      : volume,
  );
}

function listVolumes(device: Readable): Volume[] {
  let table: PartitionTable;
  try {
    table = readPartitionTable(device);
  } catch (error) {
    if (!isOfContents(error)) throw error;
    const why = 'the partition table of its disk is damaged';
    return [unread({ offset: 0, sizeBytes: device.sizeBytes }, { kind: 'unknown' }, 'damaged', why)];
  }
  if (table.kind === 'none') return [readVolume(device, { offset: 0, sizeBytes: device.sizeBytes })];
  const isMbr = table.kind === 'mbr';
  // An extended partition is only the room of others.
  const places = table.partitions
    .filter(({ type }) => !(isMbr && isExtended({ type: Number.parseInt(type, 16) })))
    .sort((a, b) => a.offset - b.offset);
  const whole = identifyVolume({ sizeBytes: device.sizeBytes, read: readerOf(device) });
  if (whole) {
    const why = 'the disk has a partition table and a file system at once';
    const all = { offset: 0, sizeBytes: device.sizeBytes };
    return [all, ...places].map((place) => unread(place, place === all ? whole : { kind: 'unknown' }, 'damaged', why));
  }
  return places.map((place) => {
    const isInside = place.sizeBytes > 0 && place.offset + place.sizeBytes <= device.sizeBytes;
    if (!isInside) return unread(place, { kind: 'unknown' }, 'damaged', 'its partition leaves the disk');
    const isShared = places.some((other) => other !== place && overlap(other, place));
    if (isShared) return unread(place, { kind: 'unknown' }, 'damaged', 'its partition overlaps another');
    return readVolume(device, place);
  });
}

function readVolume(device: Readable, { offset, sizeBytes }: Omit<Partition, 'type'>): Volume {
  const read = readerOf(device);
  const bytes: VolumeBytes = {
    sizeBytes,
    read(at, length) {
      const inside = Math.max(0, Math.min(length, sizeBytes - at));
      if (inside === length) return read(offset + at, length);
      const padded = new Uint8Array(length);
      if (inside > 0) padded.set(read(offset + at, inside));
      return padded;
    },
  };
  const place = { offset, sizeBytes };
  const found = identifyVolume(bytes);
  if (!found) return unread(place, { kind: 'unknown' }, 'unknown', 'hv knows no file system there');
  if (found.kind === 'suspended') return unread(place, found, 'hibernated', 'a Linux system sleeps in it');
  try {
    const system = readNtfs(bytes) ?? readExt(bytes) ?? readFat(bytes);
    if (!system) return unread(place, found, 'unsupported', 'hv knows it by name only');
    return volumeOf(place, system);
  } catch (error) {
    if (!isOfContents(error)) throw error;
    return unread(place, found, 'damaged', error.message);
  }
}

function volumeOf(place: { readonly offset: number; readonly sizeBytes: number }, system: FileSystem): Volume {
  const { kind, state, why, blockSizeBytes } = system;
  if (state !== 'clean') return { ...unread(place, { kind }, state, why), blockSizeBytes };
  let freeBytes = 0;
  for (const { length } of system.freeRanges()) freeBytes += length;
  return {
    ...place,
    kind,
    state,
    why,
    blockSizeBytes,
    freeBytes,
    *freeRanges() {
      for (const { offset, length } of system.freeRanges()) yield { offset: place.offset + offset, length };
    },
  };
}

function unread(
  { offset, sizeBytes }: { readonly offset: number; readonly sizeBytes: number },
  { kind }: { readonly kind: Volume['kind'] },
  state: Volume['state'],
  why: string,
): Volume {
  return { offset, sizeBytes, kind, state, why, blockSizeBytes: null, freeBytes: null, freeRanges: () => [] };
}

function overlap(a: Partition, b: Partition): boolean {
  return a.offset < b.offset + b.sizeBytes && b.offset < a.offset + a.sizeBytes;
}

/** Whether a failure is one of what lies in the disk; those of the image file itself carry its path or format. */
function isOfContents(error: unknown): error is Error {
  if (!isHvError(error, 'corrupt')) return false;
  const { reason, format } = error.detail;
  return ['ext4', 'ntfs', 'fat'].includes(String(format)) || /^(gpt|mbr)-/.test(String(reason));
}
